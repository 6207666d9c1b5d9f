"""Finding image files on disk, and saying clearly when they are not there."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ...errors import UserError
from ...roots import datasets_root
from .class_names import normalise
from .paths import inside, on_disk, relative_id
from .records import warn_once
from .text_files import read_lines

#: Suffixes of image files, in any case, in order of preference where two files share a stem.
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".bmp", ".webp", ".jfif", ".tif", ".tiff", ".ppm", ".pgm", ".gif"
)  # fmt: skip

# Of pictures too, which not every Pillow reads.
_NOT_READ = {
    ".heic", ".heif", ".avif", ".jxl", ".jp2", ".dng", ".cr2", ".cr3", ".nef", ".arw"
}  # fmt: skip
_RANK = {suffix: n for n, suffix in enumerate(SUFFIXES)}
_MAGIC = re.compile(r"[*?\[]")


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image and is not hidden (``._photo.jpg`` of a Mac is)."""
    return os.path.splitext(name)[1].lower() in _RANK and not name.startswith(".")


def is_folder(entry: os.DirEntry) -> bool:
    """Whether an entry is a folder, or a link to one; a link that leads to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _is_folder_name(name: str) -> bool:
    """Whether a folder counts: not if it is hidden, or what a Mac adds to its archives."""
    return not name.startswith(".") and name != "__MACOSX"


def walk_images(folder: Path, wanted: Callable[[str], bool] = is_image_name) -> list[Path]:
    """All images in a folder and below, sorted by path.

    Hidden folders and files are passed over. Links are followed; a folder that can be reached in
    several ways, or within itself, is entered once. Pictures of formats that are not read, as an
    iPhone's HEIC, are warned of, unless one of the same name is beside them.

    Args:
        folder: where to look.
        wanted: which names count, by default those of images.

    Raises:
        UserError: ``folder`` is no folder, or one below it cannot be listed.
    """
    found, left_out = _walk(folder, wanted)
    _warn_of_left_out(folder, left_out)
    return found


def _walk(folder: Path, wanted: Callable[[str], bool]) -> tuple[list[Path], list[Path]]:
    """What is wanted, sorted, and pictures of formats that are not read."""
    if not os.path.isdir(folder):
        raise UserError(f"folder {folder} does not exist{where_to_look()}")
    found: list[Path] = []
    left_out: list[Path] = []
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise UserError(f"folder {error.filename} cannot be listed: {error.strerror}") from error

    for path, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        # In place and sorted: which way into a folder counts must not depend on the disk.
        folders[:] = sorted(filter(_is_folder_name, folders))
        found += [Path(path, file) for file in files if wanted(file)]
        if wanted is is_image_name:
            left_out += _pictures_not_read(path, files)
    return sorted(found, key=lambda p: p.parts), left_out


def _warn_of_left_out(folder: Path, pictures: Sequence[Path]) -> None:
    if pictures:
        warn_once(
            f"{folder}: {len(pictures)} pictures of a format that is not read are left out, for "
            f"one {pictures[0]}: convert them to JPEG or PNG"
        )


def _pictures_not_read(folder: str, files: Sequence[str]) -> list[Path]:
    """Those without a picture of their name that is read."""
    others = [f for f in files if os.path.splitext(f)[1].lower() in _NOT_READ and f[0] != "."]
    read = {os.path.splitext(f)[0] for f in files if is_image_name(f)} if others else set()
    return [Path(folder, f) for f in sorted(others) if os.path.splitext(f)[0] not in read]


def glob_images(
    pattern: str, wanted: Callable[[str], bool] = is_image_name
) -> tuple[Path, list[Path]]:
    """Images that a glob matches, and the folder before its first wildcard.

    ``*``, ``?`` and ``[...]`` match within a name, ``**`` any number of folders, all without
    regard to case. A pattern that matches a folder takes all images below it.

    Raises:
        UserError: the folder before the first wildcard does not exist.
    """
    parts = Path(pattern).parts
    fixed = len(parts)
    for i, part in enumerate(parts):
        if _MAGIC.search(part) and not os.path.exists(Path(*parts[: i + 1])):
            fixed = i
            break
    base = Path(*parts[:fixed])
    rest = parts[fixed:]
    found, left_out = (
        [p for p in paths if _matches(p.relative_to(base).parts, rest)]
        for paths in _walk(base, wanted)
    )
    _warn_of_left_out(base, left_out)
    return base, found


def is_glob(text: str) -> bool:
    """Whether a path holds a wildcard (and is not the name of something that exists)."""
    return bool(_MAGIC.search(text)) and not os.path.exists(text)


def _matches(parts: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the path, or a folder that it is in, matches."""
    reached = {0}  # numbers of pattern parts that the path so far has used up
    for part in parts:
        following = set()
        for n in _skip(reached, wanted):
            if n == len(wanted):
                continue
            if wanted[n] == "**":
                following.add(n)
            elif fnmatch.fnmatchcase(part.lower(), wanted[n].lower()):
                following.add(n + 1)
        reached = following
        if len(wanted) in reached:
            return True
    return len(wanted) in _skip(reached, wanted)


def _skip(reached: set[int], wanted: Sequence[str]) -> set[int]:
    """``**`` may match no folder at all."""
    reached = set(reached)
    for n in range(len(wanted)):
        if n in reached and wanted[n] == "**":
            reached.add(n + 1)
    return reached


def images_by_stem(folder: Path) -> dict[str, Path]:
    """Images directly in a folder by name without suffix; one listing instead of many look-ups."""
    found: dict[str, Path] = {}
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise UserError(
            f"folder {folder.absolute()} does not exist or cannot be listed ({error.strerror}); "
            f"images are expected there{where_to_look()}"
        ) from error
    for name in filter(is_image_name, names):
        path = folder / name
        other = found.get(path.stem)
        if other is None or _RANK[path.suffix.lower()] < _RANK[other.suffix.lower()]:
            found[path.stem] = path
    return found


def class_folders(root: Path) -> list[str]:
    """Names of the folders in ``root``, sorted without regard to case.

    Those that :func:`walk_images` passes over are left out.

    Raises:
        UserError: ``root`` is no folder.
    """
    require_folder(root)
    with os.scandir(root) as entries:
        names = [e.name for e in entries if is_folder(e) and _is_folder_name(e.name)]
    return sorted(names, key=str.casefold)


def images_below(root: Path, folder: str) -> list[str]:
    """Paths, from ``root`` on, of all images in a folder of it, sorted."""
    return sorted(relative_id(path, root) for path in walk_images(root / folder))


def read_list(list_file: Path, root: Path | None = None) -> Iterator[tuple[int, str, int | None]]:
    """Line (from 1), path and number of every entry of an image list; paths may hold spaces.

    Args:
        list_file: the list. Its comments are left out, see :func:`is_comment`.
        root: folder that the paths start from; None = the folder of the list.

    Raises:
        UserError: there is no such file, or it is no text.
    """
    find = PathFinder(list_file.parent if root is None else root)
    for line, text in read_lines(list_file, "image list", where_to_look()):
        *path, number = text.rsplit(maxsplit=1)
        # Longer numbers are names: no list has a billion classes.
        if path and number.isascii() and number.isdecimal() and len(number) < 10:
            entry = line, path[0], int(number)
        else:
            entry = line, text, None
        if not is_comment(entry[1], find):
            yield entry


def require_folder(root: Path) -> None:
    """Raise a UserError that shows the expected tree where ``root`` is no folder."""
    if not os.path.isdir(root):
        raise UserError(
            f"{root.absolute()} does not exist. Expected:\n"
            f"    {root.absolute()}/\n"
            f"        <class>/<image>.jpg   a folder per class{where_to_look()}"
        )


def where_to_look() -> str:
    """The end of every message about missing data: where they belong, and what needs none."""
    return (
        f"\nThe root of all data sets, DETECTRON2_DATASETS, is {datasets_root().absolute()}; "
        "datasets/README.md says where the public sets come from. What works at once, without any "
        "data: metaalign-det train --config-file mini/swda_meta.yaml (detection) or "
        "mini_digits/dann.yaml (classification)"
    )


class PathFinder:
    """From a path in a list to the file on disk, whose folders may be spelled in another way."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[str, str] = {}

    def __call__(self, path: str, where: str) -> str | None:
        """The file, or None where there is none.

        Raises:
            UserError: the path leaves the root; ``where`` names it.
        """
        inside(self._root, path, where)
        folder, _, file = path.rpartition("/")
        if folder not in self._folders:
            self._folders[folder] = str(find_below(self._root, folder) or self._root / folder)
        there = Path(self._folders[folder])
        found = on_disk(there / file, there)
        return str(found) if os.path.isfile(found) else None


def is_comment(entry: str, find: PathFinder) -> bool:
    """Whether an entry of a list starts with # and is the path of no file."""
    if not entry.startswith("#"):
        return False
    try:
        return find(entry, "") is None
    except UserError:  # it leaves the root, or is no path
        return True


def find_below(root: Path, folder: str) -> Path | None:
    """The folder below ``root`` that a relative path names, in any spelling, or None."""
    if os.path.isdir(root / folder):
        return root / folder
    for part in Path(folder).parts:
        if not os.path.isdir(root):
            return None
        names = sorted(p.name for p in root.iterdir() if normalise(p.name) == normalise(part))
        if not names:
            return None
        root = root / names[0]
    return root
