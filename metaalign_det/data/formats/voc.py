"""Data sets in the layout of Pascal VOC, read strictly.

Detectron2 has a reader of its own, ``load_voc_instances``. This one gives the same dicts and adds
what cross-domain data need: a subset of the classes, the ``difficult`` flags, targets without
annotations, and an error that names the file for everything that would otherwise go unnoticed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.structures import BoxMode
from detectron2.utils.logger import log_first_n

from ...errors import UserError
from ...roots import datasets_root
from .image_headers import read_image_sizes
from .voc_xml import VocObject, box_in_image, read_annotation

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

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")  # in order of preference
_SHOWN = 10  # files named in one message


def load_voc(
    root: str | Path,
    split: str,
    class_names: Sequence[str] | None,
    *,
    labels: bool = True,
    ignore_classes: Sequence[str] = (),
    keep_empty: bool = True,
    expected: int | None = None,
) -> list[dict]:
    """Read one split of a VOC tree into Detectron2's dataset dicts.

    Args:
        root: folder that holds ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: name of a list in ``ImageSets/Main``, without ``.txt``.
        class_names: names in the order of the category numbers; not used without labels.
        labels: False reads the images alone: ``Annotations`` need not exist and, if it does, is
            not opened.
        ignore_classes: names whose objects are dropped, unless they are in ``class_names``.
            Anything else in the XML is an error, since a misspelt class would quietly be lost.
        keep_empty: False leaves out images in which no object of ``class_names`` remains.
        expected: number of images that the split should list; another number gives a warning, as
            part of a data set is good enough for a trial.

    Returns:
        list[dict]: ``file_name``, ``image_id`` (str), ``height`` and ``width`` (pixels, of the
        image itself: where the XML disagrees it is not believed) and, with labels,
        ``annotations``: dicts of ``bbox`` ([x0, y0, x1, y1], absolute pixels from 0, continuous:
        the XML's 1-based inclusive corners, less 1 at the upper left), ``bbox_mode``,
        ``category_id`` and ``difficult`` (bool; train on them, leave them out of the score).

    Raises:
        UserError: the tree, the split, an image or an annotation is missing or wrong.
    """
    if labels and not class_names:
        raise UserError(f"{root}: boxes cannot be read without a list of class names")
    root = Path(root)
    ids = read_split(root, split)
    if expected not in (None, len(ids)):
        _warn_once(
            f"{root}, split {split}: {len(ids)} images listed where there should be {expected}; "
            "is the download complete?"
        )
    files = _find_images(root, ids)
    sizes = read_image_sizes(files)
    dicts = [
        {"file_name": str(file), "image_id": i, "height": height, "width": width}
        for i, file, (width, height) in zip(ids, files, sizes)
    ]
    if not labels:
        return dicts
    _require(root / "Annotations", root, split)
    _annotate(dicts, root, tuple(class_names), frozenset(ignore_classes))
    if not keep_empty:
        dicts = [d for d in dicts if d["annotations"]]
        logger.info("%s, %s: %d of %d images have objects", root, split, len(dicts), len(ids))
        if not dicts:
            raise UserError(
                f"{root}, split {split!r}: no image has an object of {', '.join(class_names)}"
            )
    return dicts


def read_split(root: str | Path, split: str) -> list[str]:
    """Image ids of one split, in the order of the file.

    Raises:
        UserError: the file is missing (with the path and the tree expected), empty, or lists an
            image twice.
    """
    root = Path(root)
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    _require(path, root, split)
    # The class-wise lists of VOC have a second column.
    ids = [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    if not ids:
        raise UserError(f"{path} is empty: list one image id a line, without folder or suffix")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))
        raise UserError(f"{path} lists {twice!r} twice: remove one of the lines")
    return ids


def read_class_names(root: str | Path, split: str) -> tuple[str, ...]:
    """The names of all objects in one split, sorted.

    Raises:
        UserError: a file is missing or cannot be parsed, or there is no object at all.
    """
    root = Path(root)
    names = {
        obj.name
        for i in read_split(root, split)
        for obj in read_annotation(root / "Annotations" / f"{i}.xml").objects
    }
    if not names:
        raise UserError(f"{root / 'Annotations'}: no object in any image of split {split!r}")
    return tuple(sorted(names))


def _require(path: Path, root: Path, split: str) -> None:
    if path.exists():
        return
    raise UserError(
        f"{path.absolute()} does not exist. Expected:\n"
        f"    {root.absolute()}/\n"
        f"        ImageSets/Main/{split}.txt   one image id a line\n"
        f"        JPEGImages/<id>.jpg\n"
        f"        Annotations/<id>.xml         where boxes are read\n"
        f"The root of all data sets, DETECTRON2_DATASETS, is {datasets_root().absolute()}; "
        "datasets/README.md says where the public sets come from. Without any data, the "
        "miniature works at once: --config-file configs/mini/swda_meta.yaml"
    )


def _find_images(root: Path, ids: Sequence[str]) -> list[Path]:
    folder = root / "JPEGImages"
    if not folder.is_dir():
        raise UserError(f"{folder.absolute()} does not exist; images are expected there")
    # One listing rather than a look-up for every image and suffix.
    rank = {suffix: n for n, suffix in enumerate(_SUFFIXES)}
    found: dict[str, Path] = {}
    for path in folder.iterdir():
        if path.suffix.lower() not in rank:
            continue
        other = found.get(path.stem)
        if other is None or rank[path.suffix.lower()] < rank[other.suffix.lower()]:
            found[path.stem] = path
    missing = [i for i in ids if i not in found]
    if missing:
        others = f" ({len(missing)} of {len(ids)} are missing)" if len(missing) > 1 else ""
        raise UserError(
            f"image {folder / (missing[0] + '.jpg')} does not exist{others}: is the download "
            "complete, is the list of the split meant for this folder?"
        )
    return [found[i] for i in ids]


def _annotate(
    dicts: list[dict], root: Path, class_names: tuple[str, ...], ignored: frozenset[str]
) -> None:
    category = {name: n for n, name in enumerate(class_names)}
    clipped, mismatched = 0, []
    for d in dicts:
        path = root / "Annotations" / f"{d['image_id']}.xml"
        size = (d["width"], d["height"])
        annotation = read_annotation(path)
        if annotation.size not in (None, size):
            mismatched.append(
                f"{path.name} says {'x'.join(map(str, annotation.size))}, "
                f"the image has {'x'.join(map(str, size))}"
            )
        d["annotations"] = []
        for obj in annotation.objects:
            if obj.name not in category:
                _require_ignored(obj, path, class_names, ignored)
                continue
            box, moved = box_in_image(obj, size, path)
            clipped += moved
            d["annotations"].append(
                {
                    "bbox": box,
                    "bbox_mode": BoxMode.XYXY_ABS,
                    "category_id": category[obj.name],
                    "difficult": obj.difficult,
                }
            )
    if clipped:
        logger.info("%s: %d boxes reached 1-2 pixels outside their image; clipped", root, clipped)
    if mismatched:
        more = len(mismatched) - _SHOWN
        _warn_once(
            f"{root / 'Annotations'}: {len(mismatched)} annotations disagree with their image "
            f"about its size; the image is right: {'; '.join(mismatched[:_SHOWN])}"
            + (f"; and {more} more" if more > 0 else "")
        )


def _warn_once(message: str) -> None:
    """Data are read by the start-up check, the loader and the evaluator; once is enough."""
    log_first_n(logging.WARNING, message, n=1, key="message")


def _require_ignored(
    obj: VocObject, path: Path, class_names: tuple[str, ...], ignored: frozenset[str]
) -> None:
    if obj.name not in ignored:
        raise UserError(
            f"{path}: class {obj.name!r} is not one of: {', '.join(class_names)}. Correct the "
            "file, add the class, or name it in ignore_classes to drop its objects"
        )
