"""What goes wrong, as an exit code and at most one sentence on standard error."""

from __future__ import annotations

import errno
import os
import select
import sys
from collections.abc import Callable

from ..errors import UserError

#: Upstream Detectron2 as this package is developed against it; requirements/ pins the same.
DETECTRON2 = (
    "git+https://github.com/facebookresearch/detectron2.git"
    "@e0ec4e189d438848521aee7926f9900e114229f5"
)

#: Module that pip does not bring with this package -> what to do where it is missing.
REMEDIES = {
    "detectron2": "Detectron2 is not installed, and PyPI does not have it: run 'make setup' in a "
    f"clone of this repository, or pip install --no-build-isolation '{DETECTRON2}'",
    "torch": "PyTorch is not installed: pip install torch torchvision, and then Detectron2",
    "torchvision": "torchvision is not installed: pip install torchvision",
    "cv2": "OpenCV is not installed: pip install opencv-python, or opencv-python-headless on a "
    "machine without a screen; not both",
}


def exit_code_of(work: Callable[[], int]) -> int:
    """Do the work of a command and return the process's exit code.

    Args:
        work: returns 0, or 1 where the work failed. A ``KeyboardInterrupt`` may carry what
            somebody who pressed Ctrl-C should know ("continue with --resume").

    Returns:
        what ``work`` returns; 2 after a :class:`UserError`, where Detectron2 and the like are not
        installed (:data:`REMEDIES`), or where a file cannot be written or read at its place; 130
        after Ctrl-C; 1 if whoever read the output has closed it.

    Raises:
        whatever else ``work`` raises: that is a bug, and the traceback says where (exit code 1).
    """
    try:
        code = work()
        sys.stdout.flush()
        return code
    except UserError as error:
        return _fail(str(error), 2)
    except ModuleNotFoundError as error:
        if error.name not in REMEDIES:
            raise
        return _fail(REMEDIES[error.name], 2)
    except KeyboardInterrupt as error:
        sys.stderr.write("; ".join(filter(None, ["interrupted", *map(str, error.args)])) + "\n")
        return 130
    except BrokenPipeError:
        if not _stdout_is_closed():
            raise
        # As after `| head`: the interpreter's own last flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        sentence = _about_a_file(error)
        if sentence is None:
            raise
        return _fail(sentence, 2)


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(f"error: {sentence}\n")
    return code


def _about_a_file(error: OSError) -> str | None:
    """What is wrong with the place of the file that an error names; None: it may be a bug."""
    from ..files import place_fault  # brings numpy, which --help does without

    if isinstance(error.filename, str | bytes):
        reason = place_fault(error)
        return reason and f"{os.fsdecode(error.filename)}: {reason}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):  # writes name no file
        return f"a file cannot be written: {place_fault(error)}"
    return None


def _stdout_is_closed() -> bool:
    """Whether standard output is a pipe whose reader has gone."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # errors are reported unasked
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
