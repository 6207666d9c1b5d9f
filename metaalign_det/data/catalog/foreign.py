"""Dataset dicts of functions that a user registered with Detectron2 themselves.

``register_coco_instances``, or any function given to ``DatasetCatalog.register``: what Detectron2
leaves optional is filled in, what nothing here could use is refused by name.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from detectron2.structures import BoxMode

from ...errors import UserError
from ..formats.image_headers import with_sizes
from ..formats.paths import show

_MODES = (BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)


def complete(name: str, dicts: list[dict], classes: Sequence[str] | None) -> list[dict]:
    """Check dataset dicts, and fill in ``image_id``: the file name.

    Args:
        name: of the data set.
        dicts: what its function returned. Not changed.
        classes: its ``thing_classes``, if it has any: numbers must be among them.

    Raises:
        UserError: a dict without ``file_name``; boxes that are not four finite
            numbers in ``XYXY_ABS`` or ``XYWH_ABS``; a class number that names no class.
    """
    completed = []
    for n, given in enumerate(dicts):
        d = dict(given)
        where = f"data set {name!r}, image {n} ({show(d.get('file_name'))})"
        if not isinstance(d.get("file_name"), str | os.PathLike):
            raise UserError(f"{where}: 'file_name' must be a path")
        d["file_name"] = os.fspath(d["file_name"])
        d.setdefault("image_id", d["file_name"])
        for annotation in _annotations(d, where):
            _check_box(annotation, where)
            _check_number(annotation.get("category_id"), "category_id", classes, where)
        if "label" in d:
            _check_number(d["label"], "label", classes, where)
        completed.append(d)
    return completed


def measured(dicts: list[dict]) -> list[dict]:
    """Fill in ``height`` and ``width`` where they are missing, from the headers of the images.

    Raises:
        UserError: an image is missing or damaged.
    """
    bare = [d for d in dicts if not ("height" in d and "width" in d)]
    for d, (width, height) in with_sizes(bare, lambda d: d["file_name"]):
        d.update(height=height, width=width)
    return [d for d in dicts if "height" in d and "width" in d]


def _annotations(d: dict, where: str) -> list[dict]:
    annotations = d.get("annotations", [])
    if not isinstance(annotations, list | tuple) or not all(
        isinstance(a, dict) for a in annotations
    ):
        raise UserError(f"{where}: 'annotations' must be a list of dicts, not {show(annotations)}")
    return list(annotations)


def _check_box(annotation: dict, where: str) -> None:
    box, mode = annotation.get("bbox"), annotation.get("bbox_mode")
    if mode not in _MODES:
        raise UserError(f"{where}: 'bbox_mode' must be XYXY_ABS or XYWH_ABS, not {show(mode)}")
    try:
        values = [float(v) for v in box]
    except (TypeError, ValueError):
        values = []
    if len(values) != 4 or not all(map(math.isfinite, values)):
        raise UserError(f"{where}: 'bbox' must be four finite numbers, not {show(box)}")


def _check_number(number: object, key: str, classes: Sequence[str] | None, where: str) -> None:
    if not hasattr(number, "__index__") or isinstance(number, bool) or number < 0:
        raise UserError(f"{where}: {key!r} must be a class number from 0, not {show(number)}")
    if classes is not None and number >= len(classes):
        raise UserError(
            f"{where}: {key!r} is {show(number)}, but 'thing_classes' in the metadata of the data "
            f"set lists {len(classes)} classes"
        )
