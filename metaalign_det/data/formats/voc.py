"""Data sets in the layout of Pascal VOC, read strictly.

Detectron2 has a reader of its own, ``load_voc_instances``. This one gives the same dicts and adds
what cross-domain data need: subsets and renamed classes, the ``difficult`` flags, targets without
annotations, trees without lists, and an error that names the file for everything that would
otherwise go unnoticed.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import BadImageError, UserError
from .boxes import BoxFitter, ImageRecord, LabelledBox
from .image_files import images_by_stem, walk_images, where_to_look
from .image_headers import with_sizes
from .paths import compositions, inside, on_disk, relative_id, show, with_slashes
from .problems import report, reported
from .records import report_boxes, report_sizes, warn_once
from .text_files import read_lines
from .voc_xml import continuous_corners, read_annotation

logger = logging.getLogger(__name__)

# fmt: off
VOC_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
#: The classes of Watercolor2k and Comic2k.
WATERCOLOR_CLASSES: tuple[str, ...] = ("bicycle", "bird", "car", "cat", "dog", "person")

# The class-wise lists of VOC: "000001 -1" says that the image does not show the class.
_CLASS_WISE = re.compile(r".*\S\s+(?:-1|0|1)")


def read_voc(
    root: Path, split: str | None, *, labels: bool = True, negatives: bool = False
) -> list[ImageRecord]:
    """Read a VOC tree.

    Args:
        root: folder that holds ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``; or, without
            a split, ``annotations`` and ``images``, or XML files beside their images, in folders
            as they like.
        split: name of a list in ``ImageSets/Main``, without ``.txt``; None = every image that has
            an XML (without labels and with ``negatives``: every image).
        labels: False reads the images alone: annotations need not exist and are not opened.
        negatives: an image without an XML is one without objects; else it is an error where a
            split lists it.

    Returns:
        list[ImageRecord]: in the order of the list, or sorted. Boxes are the XML's 1-based
        inclusive corners, less 1 at the upper left. The size is that of the image itself: where
        the XML disagrees it is not believed.

    Raises:
        UserError: the tree, the split, an image or an annotation is missing or wrong.
    """
    found = _listed(root, split, labels) if split is not None else _all(root, labels, negatives)
    records = [
        ImageRecord(str(image), image_id, size, str(xml), None)
        for (image_id, image, xml), size in with_sizes(found, lambda one: one[1])
    ]
    if not labels:
        return records
    if split is not None:
        _require(root / "Annotations", root, split)
    fitter, mismatched = BoxFitter(), []
    annotated = []
    for record in records:
        with reported():
            boxes = _read_boxes(record, Path(record.where), negatives, fitter, mismatched)
            annotated.append(record._replace(boxes=boxes))
    report_boxes(str(root), fitter)
    report_sizes(str(root / "Annotations"), mismatched)
    return annotated


def read_split(root: str | Path, split: str) -> list[str]:
    """Image ids of one split, in the order of the file.

    The second column of VOC's class-wise lists (-1, 0 or 1 on every line) is left out, unless
    images are called so with it.

    Raises:
        UserError: the file is missing (with the path and the tree expected), empty, no text, or
            lists an image twice; an id leaves the tree.
    """
    root = Path(root)
    lists = root / "ImageSets" / "Main"
    path = inside(lists, f"{split}.txt", "SPLIT")
    _require(path, root, split)
    lines = read_lines(path, "split")
    if lines and is_class_wise(text for _, text in lines):
        images = images_by_stem(root / "JPEGImages")
        if not any(text in images for _, text in lines):
            lines = [(n, text.rsplit(maxsplit=1)[0]) for n, text in lines]
    if not lines:
        raise UserError(f"{path} is empty: list one image id a line, without folder or suffix")
    folder = root / "JPEGImages"
    lines = _with_slashes(lines, folder, path)
    seen: set[str] = set()
    for n, image_id in lines:
        inside(folder, image_id, f"{path}, line {n}")
        if image_id in seen:
            raise UserError(f"{path} lists {show(image_id)} twice: remove one of the lines")
        seen.add(image_id)
    return [image_id for _, image_id in lines]


def is_class_wise(lines: Iterable[str]) -> bool:
    """Whether every line of a list ends in -1, 0 or 1, which say if the image shows a class."""
    return all(_CLASS_WISE.fullmatch(text) for text in lines)


def _with_slashes(
    lines: list[tuple[int, str]], folder: Path, list_file: Path
) -> list[tuple[int, str]]:
    """Ids that Windows wrote, with slashes; what an image is called by keeps its backslashes."""
    windows = [(n, image_id) for n, image_id in lines if "\\" in image_id]
    if not windows:
        return lines
    for n, image_id in windows:
        inside(folder, image_id, f"{list_file}, line {n}")
    there = _images_by_id(folder, [image_id for _, image_id in windows])
    kept = {i for _, i in windows if any(form in there for form in compositions(i))}
    return [(n, i if i in kept else with_slashes(i, folder)) for n, i in lines]


def _images_by_id(folder: Path, ids: Iterable[str]) -> dict[str, Path]:
    """Images in a folder and in those that ids name, by path without suffix."""
    there = images_by_stem(folder)
    for below in sorted({i.rpartition("/")[0] for i in ids} - {""}):  # CVAT's ids hold folders
        if os.path.isdir(folder / below):
            nested = images_by_stem(folder / below)
            there |= {f"{below}/{stem}": path for stem, path in nested.items()}
    return there


def _listed(root: Path, split: str, labels: bool) -> list[tuple[str, Path, Path]]:
    """Id, image and XML (which need not exist) of what a split lists."""
    ids = read_split(root, split)
    folder = root / "JPEGImages"
    there = _images_by_id(folder, ids)
    spelled = {i: next((s for s in compositions(i) if s in there), None) for i in ids}
    found = {i: there[stem] for i, stem in spelled.items() if stem is not None}
    missing = [i for i in ids if i not in found]
    others = f" ({len(missing)} of {len(ids)} are missing)" if len(missing) > 1 else ""
    for image_id in missing:
        hint = "is the download complete, is the list of the split meant for this folder?"
        if os.path.isfile(folder / image_id):
            hint = f"ImageSets/Main/{split}.txt must list ids without a suffix, not {image_id}"
        report(BadImageError(folder / f"{image_id}.jpg", f"does not exist{others}: {hint}"))
    xml = root / "Annotations"
    return [(i, found[i], _xml(xml, i, labels)) for i in ids if i in found]


def _xml(folder: Path, image_id: str, labels: bool) -> Path:
    """Where the XML of an image is; without labels nobody looks for it."""
    path = folder / f"{image_id}.xml"
    return on_disk(path, folder) if labels else path


def _all(root: Path, labels: bool, negatives: bool) -> list[tuple[str, Path, Path]]:
    """The same of a tree without lists; with labels, ``negatives`` are images without an XML."""
    images, annotations = _folders(root)
    with_xml = labels and not negatives
    found = []
    for image in walk_images(images):
        image_id = os.path.splitext(relative_id(image, images))[0]
        found.append((image_id, image, _xml(annotations, image_id, labels)))
    if labels:
        _warn_of_lost_xml(annotations, {xml for _, _, xml in found})
    kept = [f for f in found if not with_xml or os.path.exists(f[2])]
    if len(kept) < len(found):
        logger.info(
            "%s: %d of %d images have an XML; the others are left out (with NEGATIVES: True they "
            "are images without objects)",
            root,
            len(kept),
            len(found),
        )
    if not kept:
        raise UserError(
            f"{root}: none of its {len(found)} images has an XML in {annotations}{where_to_look()}"
        )
    twice, times = Counter(image_id for image_id, _, _ in kept).most_common(1)[0]
    if times > 1:
        raise UserError(
            f"{images}: {times} images are called {show(twice)}, with different suffixes"
        )
    return kept


def _warn_of_lost_xml(annotations: Path, found: set[Path]) -> None:
    """XML files whose image is not there, or of a format that is not read."""
    if not os.path.isdir(annotations):
        return
    files = walk_images(annotations, lambda name: name.lower().endswith(".xml") and name[0] != ".")
    # What is spelled in another way than its image comes without a ".." of the root.
    lost = [f for f in files if f not in found and Path(os.path.normpath(f)) not in found]
    if lost:
        warn_once(
            f"{annotations}: {len(lost)} XML files have no image of their name and are left out, "
            f"for one {lost[0].name}: is an image missing, or of a format that is not read?"
        )


def _folders(root: Path) -> tuple[Path, Path]:
    """Where a tree without lists has its images and its XML files.

    In VOC's folders; in ``images`` and ``annotations`` in either case, as many sets on the net, or
    ``annotations/xmls`` as Oxford's pets; else beside each other.
    """
    if os.path.isdir(root / "JPEGImages"):
        return root / "JPEGImages", root / "Annotations"
    there = {name.lower(): root / name for name in os.listdir(root)} if root.is_dir() else {}
    images, annotations = there.get("images", root), there.get("annotations", root)
    if not images.is_dir() or not annotations.is_dir() or root in (images, annotations):
        return root, root
    return images, annotations / "xmls" if (annotations / "xmls").is_dir() else annotations


def _require(path: Path, root: Path, split: str) -> None:
    if os.path.exists(path):
        return
    raise UserError(
        f"{path.absolute()} does not exist. Expected:\n"
        f"    {root.absolute()}/\n"
        f"        ImageSets/Main/{split}.txt   one image id a line; without SPLIT, not needed\n"
        f"        JPEGImages/<id>.jpg\n"
        f"        Annotations/<id>.xml         where boxes are read{where_to_look()}"
    )


def _read_boxes(
    record: ImageRecord, xml: Path, negatives: bool, fitter: BoxFitter, mismatched: list[str]
) -> list[LabelledBox]:
    if negatives and not os.path.exists(xml):
        return []
    annotation = read_annotation(xml)
    if annotation.size not in (None, record.size):
        mismatched.append(_sizes_text(xml.name, annotation.size, record.size))
    boxes = []
    for obj in annotation.objects:
        corners, where = continuous_corners(obj, xml)
        inside_image = fitter.fit(corners, record.size, where)
        if inside_image is not None:
            boxes.append(LabelledBox(obj.name, inside_image, obj.difficult))
    return boxes


def _sizes_text(name: str, claimed: Sequence[int], actual: Sequence[int]) -> str:
    return f"{name} says {claimed[0]}x{claimed[1]}, the image has {actual[0]}x{actual[1]}"
