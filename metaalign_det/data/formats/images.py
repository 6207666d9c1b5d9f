"""Images and nothing else: any folder, glob or list, as a target that nobody has sorted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from .boxes import ImageRecord
from .image_files import (
    PathFinder,
    glob_images,
    is_comment,
    is_glob,
    is_image_name,
    walk_images,
    where_to_look,
)
from .image_headers import require_image, with_sizes
from .paths import inside, on_disk, relative_id, require_file, resolve, show
from .problems import reported
from .text_files import read_lines

#: Suffixes of files that list images rather than being one.
LIST_SUFFIXES = (".txt", ".lst", ".list")


def read_images(places: Sequence[Path], list_root: Path | None = None) -> list[ImageRecord]:
    """Find images and read their sizes.

    Args:
        places: folders (everything below them, links followed, in any nesting), globs (``**``
            included), image files, and text files that list images, one path a line.
        list_root: folder that the lines of text files start from and must not leave; None = the
            folder of the text file.

    Returns:
        list[ImageRecord]: without boxes; each image once, by rising path within each place. Ids
        are paths from the folder on that all places share.

    Raises:
        UserError: a place does not exist or holds no image, an image is damaged, a line of a list
            leaves its root.
    """
    found: dict[Path, None] = {}
    bases = []
    for place in places:
        base, images = find_images(place, list_root)
        bases.append(str(base))
        found.update(dict.fromkeys(images))
    base = Path(os.path.commonpath(bases))
    return [
        ImageRecord(str(file), relative_id(file, base), size, str(file), None)
        for file, size in with_sizes(found, lambda file: file)
    ]


def find_images(place: str | Path, list_root: Path | None = None) -> tuple[Path, list[Path]]:
    """The images of one place, and the folder that their names count from; see the above.

    Args:
        place: absolute, or below ``DETECTRON2_DATASETS``.
        list_root: see :func:`read_images`.

    Raises:
        UserError: as :func:`read_images`; images are not opened.
    """
    path = resolve(place)
    if os.path.isdir(path):
        base, images = path, walk_images(path)
    elif is_glob(str(path)):
        base, images = glob_images(str(path))
    elif path.suffix.lower() in LIST_SUFFIXES:
        base = path.parent if list_root is None else resolve(list_root)
        images = _read_list(path, base)
    else:
        require_file(path, "image, folder or list", where_to_look())
        if not is_image_name(path.name):
            raise UserError(
                f"{path} is neither a folder nor an image nor a list ({', '.join(LIST_SUFFIXES)})"
            )
        base, images = path.parent, [path]
    if not images:
        raise UserError(f"{show(str(path))}: no image in it or below it")
    return base, images


def _read_list(path: Path, root: Path) -> list[Path]:
    images = []
    find = PathFinder(root)
    for n, text in read_lines(path, "image list", where_to_look()):
        if is_comment(text, find):
            continue
        where = f"{path}, line {n}"
        image = on_disk(inside(root, text, where), root)
        if not is_image_name(image.name):
            raise UserError(f"{where}: {show(text)} is no image by its suffix")
        with reported():
            require_image(image, f"{where}: ")
            images.append(image)
    if not images:
        raise UserError(f"{path} is empty: list one image per line")
    return images
