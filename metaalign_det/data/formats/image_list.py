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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError
from ...roots import resolve_root
from .class_names import ClassIndex, shorten
from .image_files import PathFinder, class_folders, images_below, read_list, require_folder

logger = logging.getLogger(__name__)

#: A folder or file, or a function that finds it when the data are read.
Location = str | Path | Callable[[], Path]
#: Class names in the order of their numbers, or a function that reads them with the data.
Classes = Sequence[str] | Callable[[], Sequence[str]]


def load_image_folder(
    root: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    expected: int | None = None,
    require_all: bool = True,
    labelled: bool = True,
) -> list[dict]:
    """Read a tree ``<root>/<class>/**/<image>``.

    Args:
        root: folder of one domain; a relative one is below ``DETECTRON2_DATASETS``.
        class_names: classes in the order of their labels; None = the names of the folders,
            sorted. Folders are matched to them without regard to case, spaces, underscores and
            hyphens. Folders of other names are left out, with a warning.
        expected: number of images there should be; another number is a warning.
        require_all: a class without images is an error; False = a warning.
        labelled: False = every image anywhere below ``root``, folders mean nothing: for a target
            that nobody has sorted.

    Returns:
        list[dict]: ``file_name``, ``image_id`` (path below ``root``) and, with labels, ``label``
        (index into ``class_names``) of every image, sorted by class and name.

    Raises:
        UserError: ``root`` does not exist, a class is missing, or there is no image.
    """
    if not labelled:
        return _read_unlabelled(root, expected)
    return _read_folder(root, class_names, expected, require_all)[1]


def load_image_list(
    list_file: str | Path,
    root: str | Path,
    class_names: Sequence[str] | None = None,
    *,
    numbered: bool = False,
    expected: int | None = None,
    require_all: bool = True,
) -> list[dict]:
    """Read a list with one image a line: a path below ``root``, and optionally a number.

    The class is the name of the image's folder and the number is ignored, since the published
    lists disagree about it. Folders in the path may be spelled in another way than on disk.

    Args:
        list_file: the list; a relative path is below ``DETECTRON2_DATASETS``.
        root: folder that the paths in it start from; relative as above.
        class_names: classes in the order of their labels; None = all folder names, sorted.
        numbered: the number is the index into ``class_names``, from 0, and folders are not
            looked at: for lists whose images are not in folders by class.
        expected, require_all: as for :func:`load_image_folder`.

    Returns:
        list[dict]: as :func:`load_image_folder`, in the order of the list.

    Raises:
        UserError: the list or an image in it does not exist (with the line), a class is not
            among ``class_names`` or has no image, a number is out of range.
    """
    return _read_list(list_file, root, class_names, numbered, expected, require_all)[1]


def register_image_folder(
    name: str,
    root: Location,
    classes: Classes | None = None,
    expected: int | None = None,
    *,
    require_all: bool = True,
    labelled: bool = True,
    domain: str | None = None,
) -> None:
    """Register a folder-per-class tree under a name, for ``DATASETS.TRAIN``, ``TARGET``, ``TEST``.

    Nothing is read before the data set is used. To register the same again changes nothing.
    The class names become the ``thing_classes`` of its metadata, at once where they are given,
    else when the data are read; its ``evaluator_type`` is "classification".

    Args:
        name: name in Detectron2's catalogs.
        root: see :func:`load_image_folder`, or a function that returns it.
        classes: see :func:`load_image_folder`, or a function that returns them.
        expected, require_all, labelled: see :func:`load_image_folder`.
        domain: what the images are of; splits of one domain share it. None = ``name``.

    Raises:
        UserError: the name is taken by other data.
    """
    data = _ImageSet(name, root, None, _fixed(classes), expected, require_all, labelled=labelled)
    _register(data, domain)


def register_image_list(
    name: str,
    list_file: Location,
    root: Location,
    classes: Classes | None = None,
    expected: int | None = None,
    *,
    numbered: bool = False,
    require_all: bool = True,
    domain: str | None = None,
) -> None:
    """Register an image list under a name; see :func:`register_image_folder`.

    Args:
        list_file, root, numbered: see :func:`load_image_list`.
        name, classes, expected, require_all, domain: see :func:`register_image_folder`.
    """
    data = _ImageSet(name, root, list_file, _fixed(classes), expected, require_all, numbered)
    _register(data, domain)


@dataclass(frozen=True)
class _ImageSet:
    """What DatasetCatalog calls; equal to another exactly if it reads the same in the same way."""

    name: str
    root: Location
    list_file: Location | None
    classes: Classes | None
    expected: int | None
    require_all: bool
    numbered: bool = False
    labelled: bool = True

    def __call__(self) -> list[dict]:
        try:
            names, dicts = self._read()
        except UserError as error:
            raise UserError(f"data set {self.name!r}: {error}") from error
        if names is not None:
            MetadataCatalog.get(self.name).set(thing_classes=list(names))
        return dicts

    def _read(self) -> tuple[tuple[str, ...] | None, list[dict]]:
        root, classes, list_file = map(_now, (self.root, self.classes, self.list_file))
        if not self.labelled:
            return classes, _read_unlabelled(root, self.expected)
        if list_file is None:
            return _read_folder(root, classes, self.expected, self.require_all)
        return _read_list(list_file, root, classes, self.numbered, self.expected, self.require_all)


def _now(value):
    return value() if callable(value) else value


def _register(data: _ImageSet, domain: str | None) -> None:
    if data.name in DatasetCatalog:
        if DatasetCatalog[data.name] != data:
            raise UserError(
                f"a data set {data.name!r} is already registered, with other settings: choose "
                "another name"
            )
        return
    DatasetCatalog.register(data.name, data)
    metadata = MetadataCatalog.get(data.name)
    metadata.set(evaluator_type="classification", domain=domain or data.name)
    if data.classes is not None and not callable(data.classes):
        metadata.set(thing_classes=list(data.classes))


def _fixed(classes: Classes | None) -> Classes | None:
    return classes if classes is None or callable(classes) else ClassIndex(classes).names


def _read_folder(
    root: str | Path, class_names: Sequence[str] | None, expected: int | None, require_all: bool
) -> tuple[tuple[str, ...], list[dict]]:
    root = resolve_root(root)
    folders = class_folders(root)
    index = ClassIndex(folders if class_names is None else class_names)
    labels = {folder: index.find(folder) for folder in folders}
    unknown = [folder for folder in folders if labels[folder] is None]
    dicts = [
        {"file_name": str(root / image), "image_id": image, "label": label}
        for folder, label in sorted(labels.items(), key=lambda item: item[1] or 0)
        if label is not None
        for image in images_below(root, folder)
    ]
    _check(dicts, index, str(root), expected, require_all, unknown)
    if unknown:
        logger.warning("%s: folders left out, they are no class: %s", root, shorten(unknown))
    return index.names, dicts


def _read_unlabelled(root: str | Path, expected: int | None) -> list[dict]:
    root = resolve_root(root)
    require_folder(root)
    images = images_below(root, ".")
    if not images:
        raise UserError(f"{root}: no image in it or below it")
    _check_count(len(images), str(root), expected)
    return [{"file_name": str(root / image), "image_id": image} for image in images]


def _read_list(
    list_file: str | Path,
    root: str | Path,
    class_names: Sequence[str] | None,
    numbered: bool,
    expected: int | None,
    require_all: bool,
) -> tuple[tuple[str, ...], list[dict]]:
    list_file, root = resolve_root(list_file), resolve_root(root)
    if numbered and class_names is None:
        raise UserError(f"{list_file}: numbers mean nothing without a list of class names")
    entries = list(read_list(list_file))
    require_folder(root)
    if class_names is None:
        class_names = sorted({Path(path).parent.name for _, path, _ in entries}, key=str.casefold)
    index = ClassIndex(class_names)
    find = PathFinder(root)
    dicts, lost = [], []
    for line, path, number in entries:
        where = f"{list_file}:{line}"
        label = _by_number(index, number, where) if numbered else _by_folder(index, path, where)
        file = find(path)
        if file is None:
            lost.append((where, path))
        dicts.append({"file_name": file, "image_id": path, "label": label})
    if lost:
        where, path = lost[0]
        raise UserError(
            f"{where}: {root / path} does not exist ({len(lost)} of the {len(dicts)} images of "
            f"the list are missing). Are its paths meant to start from {root}?"
        )
    _check(dicts, index, str(list_file), expected, require_all, [])
    return index.names, dicts


def _by_folder(index: ClassIndex, path: str, where: str) -> int:
    folder = Path(path).parent.name
    label = index.find(folder)
    if label is None:
        raise UserError(f"{where}: folder {folder!r} is no class; {index.describe(folder)}")
    return label


def _by_number(index: ClassIndex, number: int | None, where: str) -> int:
    if number is None or number >= len(index.names):
        raise UserError(
            f"{where}: class number {number} is not in 0 to {len(index.names) - 1}; numbers count "
            "from 0"
        )
    return number


def _check(
    dicts: list[dict],
    index: ClassIndex,
    where: str,
    expected: int | None,
    require_all: bool,
    unknown: Sequence[str],
) -> None:
    if not dicts:
        raise UserError(
            f"{where}: no image of any class; {index.describe('')}"
            + (f"; the folders are {shorten(unknown)}" if unknown else "")
        )
    _check_count(len(dicts), where, expected)
    present = {d["label"] for d in dicts}
    missing = [name for i, name in enumerate(index.names) if i not in present]
    if missing:
        text = f"{where}: no image of class {shorten(missing)}"
        if unknown:
            text += f"; folders that are no class: {shorten(unknown)}"
        if require_all:
            raise UserError(text)
        logger.warning("%s", text)


def _check_count(images: int, where: str, expected: int | None) -> None:
    if expected not in (None, images):
        logger.warning(
            "%s: %d images where there should be %d; is the download complete?",
            where,
            images,
            expected,
        )
