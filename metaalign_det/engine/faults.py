"""What disks, folders and helper processes do wrong, in one sentence each."""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError
from ..files import place_fault

_REASONS = {
    errno.ENOSPC: "the disk is full ({free} free); make room, or set SOLVER.CHECKPOINT_KEEP",
    errno.EDQUOT: "the disk quota is used up; make room, or set SOLVER.CHECKPOINT_KEEP",
    errno.EFBIG: "the file is larger than this system allows (ulimit -f)",
    errno.EROFS: "the file system is read-only; set OUTPUT_DIR to a folder that can be written to",
    errno.EACCES: "permission denied; set OUTPUT_DIR to a folder that can be written to",
    errno.EPERM: "permission denied; set OUTPUT_DIR to a folder that can be written to",
    errno.ENOENT: "its folder is gone",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EIO: "the disk reports an error; is it still connected?",
    errno.ESTALE: "the network drive is gone",
    errno.ENOTCONN: "the network drive is gone",
    errno.EHOSTDOWN: "the network drive is gone",
    errno.EMFILE: "too many files are open (ulimit -n)",
    errno.ENAMETOOLONG: "the name is too long",
}
# torch's writer of checkpoints answers an OSError with an error of its own.
_TORCH_WRITER = re.compile(r"PytorchStreamWriter|unexpected pos|failed finding central directory")
_CAUGHT_IN_WORKER = re.compile(r"Caught \w+ in DataLoader worker process \d+\.")


def explained_fault(error: BaseException, folder: str | Path) -> str | None:
    """Why a file could not be written or read, and what to do about it.

    Args:
        error: of the operating system, or raised while one was handled.
        folder: that the work writes to, ``OUTPUT_DIR``; to say how much is free on its disk. An
            error that names a file elsewhere gets no advice on it.

    Returns:
        one sentence without a full stop; None where the error is no such fault.
    """
    from_torch = isinstance(error, RuntimeError) and _TORCH_WRITER.search(str(error))
    cause = (error.__cause__ or error.__context__) if from_torch else error
    if isinstance(cause, OSError) and cause.errno in _REASONS:
        if _is_elsewhere(cause, folder) and (reason := place_fault(cause)):
            return reason
        return _REASONS[cause.errno].format(free=megabytes(free_bytes(folder)))
    if from_torch:
        return f"the disk is full or gone ({megabytes(free_bytes(folder))} free)"
    return None


def explained_worker_fault(error: BaseException) -> str | None:
    """Why the processes that load images failed, and what to do; None for errors of other kinds."""
    text = str(error)
    killed = (
        "a process that loads images was killed, mostly because memory ran out; lower "
        "DATALOADER.NUM_WORKERS, or set it to 0 to see the error itself"
    )
    shared_memory = (
        "the processes that load images have too little shared memory (/dev/shm); give this "
        "container more (docker run --shm-size 1g), or set DATALOADER.NUM_WORKERS 0"
    )
    # Its end of the pipe that tensors come through is gone before torch notices its death.
    if isinstance(error, ConnectionError | EOFError):
        return killed
    if isinstance(error, RuntimeError):
        if "shared memory" in text or "shm" in text or "Bus error" in text:
            return shared_memory
        if "DataLoader worker" in text and ("killed" in text or "exited unexpectedly" in text):
            return killed
    caught = _CAUGHT_IN_WORKER.search(text)
    if isinstance(error, OSError):
        # Loading writes nothing but the tensors that it hands over.
        if error.errno == errno.ENOSPC or os.strerror(errno.ENOSPC) in text:
            return shared_memory
        last = text.strip().splitlines()[-1] if text.strip() else type(error).__name__
        return f"an image could not be read: {last if caught else error}; is its drive there?"
    return None


@contextmanager
def explained_faults(folder: str | Path) -> Iterator[None]:
    """Faults of disks and folders in the block become a ``UserError``, without a traceback.

    Args:
        folder: that the block writes to, ``OUTPUT_DIR``.
    """

    def unexplained(record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return error is None or explained_fault(error, folder) is None

    log = logging.getLogger("detectron2.engine.train_loop")
    log.addFilter(unexplained)
    try:
        yield
    except UserError:
        raise
    except (OSError, RuntimeError) as error:
        # What a second fault hid, such as that of a writer being closed, was explained already.
        hidden = error.__context__
        if isinstance(hidden, UserError):
            raise hidden from None
        if isinstance(error, RuntimeError) and (reason := explained_worker_fault(error)):
            raise UserError(f"{reason}. --resume continues from the last checkpoint") from error
        reason = explained_fault(error, folder)
        if reason is None:
            raise
        where = getattr(error, "filename", None) or folder
        way_on = "The last checkpoint is unharmed; continue with --resume"
        # Such as a data set's, before there is anything to resume.
        if _is_elsewhere(error, folder) and not os.path.isfile(f"{folder}/last_checkpoint"):
            raise UserError(f"{where}: {reason}") from error
        raise UserError(f"{where}: {reason}. {way_on}") from error
    finally:
        log.removeFilter(unexplained)


def _is_elsewhere(error: BaseException, folder: str | Path) -> bool:
    """Whether an error names a file that is neither in the folder nor one that the folder is in."""
    file = getattr(error, "filename", None)
    if not isinstance(file, str | bytes | os.PathLike):
        return False
    file, folder = Path(os.path.abspath(os.fsdecode(file))), Path(os.path.abspath(folder))
    return not (file.is_relative_to(folder) or folder.is_relative_to(file))


def free_bytes(folder: str | Path) -> int:
    """Free bytes on the disk of a folder, which need not exist yet; -1 if it cannot be said."""
    folder = Path(folder).absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return -1


def megabytes(count: float) -> str:
    """Bytes as a person would say them."""
    return "unknown space" if count < 0 else f"{count / 1e6:,.1f} MB"
