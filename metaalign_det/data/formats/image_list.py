"""Classification data: a folder per class, or a list of files.

Class names, not numbers, are the identity of a class. The lists in circulation number the same
classes from 0 or from 1 and in several orders, and spell domains and classes in several ways;
here the class of an image is the name of its folder, in any spelling, and its number is the
position of that name in one explicit list.

The dicts are Detectron2's, without ``height`` and ``width``: nothing in classification needs them
before the image is read, and the headers of 150,000 images take minutes.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import BadImageError, UserError
from .class_names import OTHERS, ClassIndex, ClassRule, normalise, shorten
from .image_files import PathFinder, class_folders, images_below, read_list, require_folder
from .paths import show, with_slashes
from .problems import report

logger = logging.getLogger(__name__)

_RENAME = "Are folders called otherwise? CLASS_MAP renames them"


def read_folder(
    root: Path, rule: ClassRule, *, require_all: bool = True
) -> tuple[tuple[str, ...], list[dict]]:
    """Read a tree ``<root>/<class>/**/<image>``.

    Args:
        root: folder of one domain.
        rule: classes; without, the names of the folders, sorted, with ``require_all`` of those
            that hold images. Folders that are no class and not ignored either are left out, with a
            warning.
        require_all: a class that is named and has no images is an error; False = a warning, and a
            folder without images is a class as well.

    Returns:
        the class names, and of every image, sorted by class and name: ``file_name``,
        ``image_id`` (path below ``root``) and ``label`` (index into the names).

    Raises:
        UserError: ``root`` does not exist, a class is missing, or there is no image.
    """
    folders = class_folders(root)
    if rule.classes is None and require_all:
        folders = _with_images(root, folders, rule)
    lenient = rule if rule.classes is None else replace(rule, ignore=rule.ignore | {OTHERS})
    index, labels = lenient.number({folder: str(root / folder) for folder in folders})
    ignored = set(map(normalise, rule.ignore))
    unknown = [f for f in folders if labels[f] is None and normalise(f) not in ignored]
    dicts = [
        {"file_name": str(root / image), "image_id": image, "label": label}
        for folder, label in sorted(labels.items(), key=lambda item: item[1] or 0)
        if label is not None
        for image in images_below(root, folder)
    ]
    if OTHERS in rule.ignore:
        unknown = []
    _check(dicts, index, str(root), require_all, unknown)
    if unknown:
        logger.warning("%s: folders left out, they are no class: %s", root, shorten(unknown))
    return index.names, dicts


def _with_images(root: Path, folders: Sequence[str], rule: ClassRule) -> list[str]:
    """Folders that hold images, which nobody has called classes; the others are warned of."""
    ignored = set(map(normalise, rule.ignore))
    kept = [f for f in folders if normalise(f) in ignored or images_below(root, f)]
    if all(normalise(f) in ignored for f in kept):
        raise UserError(
            f"{root}: no image in any folder in it"
            + (f" ({shorten(folders)})" if folders else "")
            + ": put the images of each class in a folder of its own"
        )
    if empty := [f for f in folders if f not in kept]:
        logger.warning("%s: folders without an image are no classes: %s", root, shorten(empty))
    return kept


def read_unsorted(root: Path) -> list[dict]:
    """Every image anywhere below ``root``, folders mean nothing: a target nobody has sorted.

    Raises:
        UserError: there is no such folder, or no image in it.
    """
    require_folder(root)
    images = images_below(root, ".")
    if not images:
        raise UserError(f"{root}: no image in it or below it")
    return [{"file_name": str(root / image), "image_id": image} for image in images]


def read_image_list(
    list_file: Path,
    root: Path,
    rule: ClassRule,
    *,
    numbered: bool = False,
    require_all: bool = True,
    labels: bool = True,
) -> tuple[tuple[str, ...], list[dict]]:
    """Read a list with one image per line: a path below ``root``, and optionally a number.

    The class is the name of the image's folder and the number is ignored, since the published
    lists disagree about it. Folders in the path may be spelled in another way than on disk.

    Args:
        list_file: the list.
        root: folder that the paths in it start from, and that they must not leave.
        rule: classes; without, all folder names, sorted.
        numbered: the number is the index into the classes, from 0, and folders are not
            looked at: for lists whose images are not in folders by class.
        require_all: as for :func:`read_folder`.
        labels: False = paths alone; folders and numbers mean nothing.

    Returns:
        as :func:`read_folder`, in the order of the list; without labels, no names.

    Raises:
        UserError: the list or an image in it does not exist (with the line), a path leaves the
            root or names no folder, a class is not known or has no image, a number is out of
            range.
    """
    if numbered and rule.classes is None and labels:
        raise UserError(f"{list_file}: numbers mean nothing without a list of class names")
    entries = list(read_list(list_file, root))
    require_folder(root)
    entries = [(line, with_slashes(path, root), number) for line, path, number in entries]
    find = PathFinder(root)
    dicts: list[dict] = []
    lost = []
    for line, path, _ in entries:
        where = f"{list_file}:{line}"
        file = find(path, where)
        if file is None:
            lost.append((where, path))
        dicts.append({"file_name": file, "image_id": path})
    for where, path in lost:
        report(
            BadImageError(
                root / path,
                f"does not exist ({len(lost)} of the {len(dicts)} images of the list are missing). "
                f"Are its paths meant to start from {root}?",
                f"{where}: ",
            )
        )
    if not dicts:
        raise UserError(f"{list_file} is empty: list one image per line")
    if not labels:
        return (), [d for d in dicts if d["file_name"] is not None]
    index = _label(dicts, entries, list_file, rule, numbered)
    dicts = [d for d in dicts if d["label"] is not None and d["file_name"] is not None]
    _check(dicts, index, str(list_file), require_all, [])
    return index.names, dicts


def _label(
    dicts: list[dict],
    entries: Sequence[tuple[int, str, int | None]],
    list_file: Path,
    rule: ClassRule,
    numbered: bool,
) -> ClassIndex:
    if numbered:
        index = ClassIndex(rule.classes or ())
        first: dict[str, tuple[int, int | None]] = {}
        for d, (line, path, number) in zip(dicts, entries):
            d["label"] = _by_number(index, number, f"{list_file}:{line}")
            other, before = first.setdefault(path, (line, number))
            if before != number:
                raise UserError(
                    f"{list_file}:{line}: {show(path)} is of class {number} here and of class "
                    f"{before} in line {other}: an image has one class, remove one of the lines"
                )
        return index
    first_use: dict[str, str] = {}
    for line, path, _ in entries:
        folder = Path(path).parent.name
        if not folder:
            raise UserError(
                f"{list_file}:{line}: {show(path)} names no folder, which would be its class. If "
                "the number behind it is, say NUMBERED: True and name the CLASSES"
            )
        first_use.setdefault(folder, f"{list_file}:{line}")
    index, numbers = rule.number(first_use)
    for d, (_, path, _) in zip(dicts, entries):
        d["label"] = numbers[Path(path).parent.name]
    return index


def _by_number(index: ClassIndex, number: int | None, where: str) -> int:
    if number is None or number >= len(index.names):
        raise UserError(
            f"{where}: class number {number} is not in 0 to {len(index.names) - 1}; numbers count "
            "from 0"
        )
    return number


def _check(
    dicts: list[dict], index: ClassIndex, where: str, require_all: bool, unknown: Sequence[str]
) -> None:
    if not dicts:
        raise UserError(
            f"{where}: no image of any class; {index.describe('')}"
            + (f"; the folders are {shorten(unknown)}" if unknown else "")
            + f". {_RENAME}"
        )
    present = {d["label"] for d in dicts}
    missing = [name for i, name in enumerate(index.names) if i not in present]
    if missing:
        text = f"{where}: no image of class {shorten(missing)}"
        if unknown:
            text += f"; folders that are no class: {shorten(unknown)}"
        if require_all:
            raise UserError(
                f"{text}. Add images of it, take it out of CLASSES, or say REQUIRE_ALL: False"
                + (f". {_RENAME}" if unknown else "")
            )
        logger.warning("%s", text)
