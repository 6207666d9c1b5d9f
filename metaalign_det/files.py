"""Files of a run: written whole or not at all, whatever ends the process that writes them."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from .errors import UserError

#: End of the name of a file that is being written; ``.<name>.<process id>.partial``.
PARTIAL = ".partial"

_ELSEWHERE = "name a place that can be written to"
_PLACE_FAULTS = {
    errno.EROFS: f"the file system is read-only; {_ELSEWHERE}",
    errno.EACCES: f"permission denied; {_ELSEWHERE}, or change the permissions",
    errno.EPERM: f"the system does not permit it; {_ELSEWHERE}",
    errno.ENOSPC: "the disk is full; make room, or name a place on another disk",
    errno.EDQUOT: "the disk quota is used up; make room, or name a place on another disk",
    errno.ENOTDIR: "a part of the path is a file, not a folder; name another place",
    errno.EISDIR: "it is a folder, and a file is wanted; name a file",
    errno.EEXIST: "it is there already, and no folder; name another place, or remove it",
    errno.ENAMETOOLONG: "the name is too long; name another place",
}


def place_fault(error: BaseException) -> str | None:
    """Why a file or folder cannot be written or read at its place, and what to do about it.

    Args:
        error: of the operating system.

    Returns:
        one sentence, without the name of the file and without a full stop; None where the error
        is of another kind, and may be a bug.
    """
    return _PLACE_FAULTS.get(error.errno) if isinstance(error, OSError) else None


@contextmanager
def replaced_file(path: str | Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of ``path`` in one step, once it is on the disk.

    Bytes go to a temporary file in the same folder, which is flushed to the disk and renamed;
    then the folder is flushed. Whatever ends the process, or the machine, ``path`` is the old
    file or the whole new one. An exception in the block leaves the old one and removes the
    temporary file.

    Args:
        path: file to replace or make; its folder exists.

    Yields:
        the temporary file, open for binary writing; may be written by its ``name`` as well.

    Raises:
        OSError: the disk is full, the folder cannot be written to; its ``filename`` is ``path``.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(partial)
        # Errors of writes name no file, and those of opening one that the user has not named.
        if isinstance(error, OSError) and error.filename in (None, str(partial)):
            error.filename = str(path)
        raise
    sync_folder(path.parent)


@contextmanager
def early_writeback(descriptor: int, every: float = 0.02) -> Iterator[None]:
    """Within it, what is written to a file begins to go to the disk at once.

    The flush at the end then has little left to wait for. This promises nothing by itself, and
    does nothing where the operating system has no such advice.

    Args:
        descriptor: of the file, which may be written by its name or from other languages.
        every: seconds between two looks.
    """
    if not hasattr(os, "posix_fadvise"):
        yield
        return
    ended = threading.Event()

    def advise() -> None:
        with suppress(OSError):
            while not ended.wait(every):
                # Starts to write what is new, without waiting, and drops what is on the disk.
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)

    thread = threading.Thread(target=advise, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sync_folder(folder: str | Path) -> None:
    """Flush a folder's entries to the disk, so that renamed and removed files stay so."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems have no such call for folders; they have their own promises.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS):
            raise
    finally:
        os.close(descriptor)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all; see :func:`replaced_file`."""
    with replaced_file(path) as file:
        file.write(text.encode("utf-8"))


def printable(text: str) -> str:
    """Text that UTF-8 can hold, for files and terminals that are strict about it.

    A file name need not be text: Python has its other bytes as lone surrogates, which become
    escapes, ``caf\\udce9.jpg``. Everything else is as it was.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_below(name: str) -> bool:
    """Whether a POSIX path names something below the folder that it is relative to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def file_below(folder: str | Path, name: str) -> Path:
    """``folder/name``, to be written; makes the folders between them.

    Args:
        folder: where to write.
        name: relative POSIX path.

    Raises:
        UserError: the name leads out of the folder: it is absolute, or holds ``..``.
    """
    if not is_below(name):
        raise UserError(f"{name!r} is no name below {folder}: give a relative path without '..'")
    path = Path(folder, PurePosixPath(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def report_path(output_dir: str | Path, kind: str, dataset_name: str, suffix: str) -> Path:
    """``output_dir/<kind>_<dataset_name><suffix>``, one file per data set; makes the folder."""
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{kind}_{re.sub(r'[^A-Za-z0-9._-]', '_', dataset_name)}{suffix}"


def write_json(path: str | Path, data: Any, indent: int | None = 2) -> None:
    """Write ``data`` as strict JSON: numpy becomes plain, NaN and infinity become ``null``.

    The file is written whole or not at all; see :func:`replaced_file`.
    """
    text = json.dumps(_plain(data), indent=indent, allow_nan=False)
    write_text(path, text + "\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
