"""Paths that data name: they stay below their root, and lead to plain files."""

from __future__ import annotations

import os
import reprlib
import stat
import unicodedata
from pathlib import Path, PurePosixPath

from ...errors import UserError
from ...roots import resolve_root

#: Bytes in one name on every file system in use.
MAX_NAME = 255

_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = 120


def show(value: object) -> str:
    """``repr`` for a message: short, however long or deep the value is."""
    return _REPR.repr(value)


def resolve(root: str | Path) -> Path:
    """A path of the user's: absolute, or below ``DETECTRON2_DATASETS``; ``~`` is expanded.

    Raises:
        UserError: ``~somebody`` without a home folder, a NUL byte, a name that is too long.
    """
    if "\0" in str(root):
        raise UserError(f"{show(str(root))} is no path: it holds a NUL byte")
    if _has_long_name(str(root)):
        raise UserError(f"{show(str(root))} has a name of more than {MAX_NAME} bytes")
    try:
        return resolve_root(root)
    except RuntimeError as error:
        raise UserError(f"{show(str(root))}: {error}") from error


def inside(root: Path, entry: str, where: str) -> Path:
    """``root/entry``, which must not leave ``root``.

    What data say about themselves (ids, entries of lists, file names in a JSON) is no reason to
    read files elsewhere. Names are looked at, not links: a link below the root is the user's own.

    Args:
        root: folder, absolute.
        entry: relative path with ``/``; an absolute one is accepted if it lies below ``root``.
        where: file and line or key that holds the entry, for the message.

    Raises:
        UserError: the entry is empty, leaves the root, or cannot be a path.
    """
    text = entry.strip()
    if not text or "\0" in text:
        raise UserError(f"{where}: {show(entry)} is no path")
    if _has_long_name(text):
        raise UserError(f"{where}: {show(entry)} has a name of more than {MAX_NAME} bytes")
    path = Path(os.path.normpath(root / text))
    if not path.is_relative_to(os.path.normpath(root)):
        raise UserError(
            f"{where}: {show(entry)} lies outside of {root}. Data may only name files below their "
            "own root: correct the entry, or register them with a ROOT (of a list of images: a "
            "LIST_ROOT) that holds them all"
        )
    return path


def compositions(text: str) -> tuple[str, ...]:
    """A text, and the same with its accents part of their letters, and behind them.

    ``é`` is one character or two, which look alike: archives and lists made on a Mac have two.
    """
    if text.isascii():
        return (text,)
    forms = (unicodedata.normalize("NFC", text), unicodedata.normalize("NFD", text))
    return tuple(dict.fromkeys((text, *forms)))


def on_disk(path: Path, root: Path) -> Path:
    """The path or, if there is nothing, what is there in another spelling.

    In another of :func:`compositions`, with slashes where it has the backslashes of Windows, with
    its suffix in capitals or not.

    Args:
        path: below root, as something names it.
        root: folder, whose own spelling is the right one.
    """
    if os.path.exists(path):
        return path
    name = relative_id(path, root)
    names = (n for slashed in dict.fromkeys((name, _slashed(name))) for n in compositions(slashed))
    spelled = dict.fromkeys(
        stem + suffix
        for stem, given in map(os.path.splitext, names)
        for suffix in (given, given.upper(), given.lower())
    )
    others = (os.path.normpath(os.path.join(root, other)) for other in spelled if other != name)
    there = map(Path, filter(os.path.exists, others))
    return next((p for p in there if p.is_relative_to(os.path.normpath(root))), path)


def with_slashes(entry: str, root: Path) -> str:
    """A relative path of a list; one that Windows wrote, ``a\\b.jpg``, with slashes.

    A file below root whose name holds backslashes keeps it.
    """
    return entry if "\\" not in entry or os.path.exists(root / entry) else _slashed(entry)


def _slashed(path: str) -> str:
    return path.replace("\\", "/")


def _has_long_name(path: str) -> bool:
    # Not os.fsencode, which has no bytes for half a character.
    return any(len(name.encode("utf-8", "replace")) > MAX_NAME for name in path.split("/"))


def relative_id(path: Path, root: Path) -> str:
    """The path from ``root`` on, with ``/``: what identifies an image there."""
    return PurePosixPath(os.path.relpath(path, root)).as_posix()


def require_file(path: Path, what: str, remedy: str = "") -> os.stat_result:
    """The status of a plain file; a pipe or a device would be waited for without end.

    Args:
        path: looked at; links are followed.
        what: names it in the message, for example "annotation".
        remedy: end of the message where the file does not exist.

    Raises:
        UserError: it does not exist, cannot be looked at, or is a folder, a pipe or a device.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{what} {path} does not exist{remedy}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{what} {show(str(path))} cannot be read: {reason}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
        raise UserError(f"{what} {path} is {kind}; a file is expected there")
    return status
