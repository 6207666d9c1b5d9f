"""Finding the files of classification data on disk, and saying clearly when they are not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...errors import UserError
from ...roots import datasets_root
from .class_names import normalise

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"}


def class_folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, hidden ones apart, sorted without regard to case.

    Raises:
        UserError: ``root`` is no folder.
    """
    require_folder(root)
    with os.scandir(root) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    return sorted(names, key=str.casefold)


def images_below(root: Path, folder: str) -> list[str]:
    """Paths, from ``root`` on, of all images in a folder of it, sorted."""
    return sorted(
        (Path(path) / file).relative_to(root).as_posix()
        for path, _, files in os.walk(root / folder)
        for file in files
        if os.path.splitext(file)[1].lower() in _SUFFIXES and not file.startswith(".")
    )


def read_list(list_file: Path) -> Iterator[tuple[int, str, int | None]]:
    """Line (from 1), path and number of every entry of an image list; paths may hold spaces.

    Raises:
        UserError: there is no such file.
    """
    if not list_file.is_file():
        raise UserError(f"image list {list_file.absolute()} does not exist.{where_to_look()}")
    with open(list_file, encoding="utf-8") as lines:
        for line, text in enumerate(map(str.strip, lines), start=1):
            if not text or text.startswith("#"):
                continue
            *path, number = text.rsplit(maxsplit=1)
            if path and number.isdecimal():
                yield line, path[0], int(number)
            else:
                yield line, text, None


def require_folder(root: Path) -> None:
    """Raise a UserError that shows the expected tree where ``root`` is no folder."""
    if not root.is_dir():
        raise UserError(
            f"{root.absolute()} does not exist. Expected:\n"
            f"    {root.absolute()}/\n"
            f"        <class>/<image>.jpg   a folder per class{where_to_look()}"
        )


def where_to_look() -> str:
    """The end of every message about missing data: where they belong, and what needs none."""
    return (
        f"\nThe root of all data sets, DETECTRON2_DATASETS, is {datasets_root().absolute()}; "
        "datasets/README.md says where the public sets come from. Without any data, the "
        "miniature works at once: --config-file configs/mini_digits/dann.yaml"
    )


class PathFinder:
    """From a path in a list to the file on disk, whose folders may be spelled in another way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, str] = {}

    def __call__(self, path: str) -> str | None:
        folder, _, file = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = str(find_below(self._root, folder) or self._root / folder)
        found = os.path.join(self._folders[folder], file)
        return found if os.path.isfile(found) else None


def find_below(root: Path, folder: str) -> Path | None:
    """The folder below ``root`` that a relative path names, in any spelling, or None."""
    if (root / folder).is_dir():
        return root / folder
    for part in Path(folder).parts:
        if not root.is_dir():
            return None
        names = sorted(p.name for p in root.iterdir() if normalise(p.name) == normalise(part))
        if not names:
            return None
        root = root / names[0]
    return root
