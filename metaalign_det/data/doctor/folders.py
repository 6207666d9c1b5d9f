"""What is in a folder, for finding out what kind of data it holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ..formats.image_files import is_folder, is_image_name

#: Entries of a folder that are looked at before it is called a folder of images.
ENOUGH = 2000


def entries_of(folder: Path) -> list[os.DirEntry]:
    """What is in a folder and not hidden, sorted; nothing of one that cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError:
        return []


def walk_files(folder: Path, most: int | None = None) -> Iterator[os.DirEntry]:
    """Files in a folder and below, breadth first; at most so many.

    Links are followed, and no folder is entered twice.
    """
    folders, entered, seen = [folder], set(), 0
    for current in folders:
        real = os.path.realpath(current)
        if real in entered:
            continue
        entered.add(real)
        for entry in entries_of(current):
            if is_folder(entry):
                folders.append(Path(entry.path))
                continue
            yield entry
            seen += 1
            if seen == most:
                return


def holds_images(folder: Path) -> bool:
    """Whether there is an image in a folder or below it."""
    return any(is_image_name(entry.name) for entry in walk_files(folder))


def has_images(folder: Path) -> bool:
    """Whether there is an image in a folder itself."""
    return any(is_image_name(e.name) and os.path.isfile(e.path) for e in entries_of(folder))


def head_of(file: str) -> bytes:
    """The first bytes of a file; none of one that cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read(4096)
    except OSError:
        return b""
