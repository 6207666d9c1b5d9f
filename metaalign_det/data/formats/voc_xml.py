"""One annotation file of a VOC tree."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError

#: Pixels by which a box may leave its image and is clipped; annotation tools are off by one.
TOLERANCE = 2.0

_CORNERS = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class VocObject:
    """One ``<object>``.

    Attributes:
        name: its class.
        corners: xmin, ymin, xmax, ymax as written: pixels counted from 1, inclusive. None if the
            file has no ``<bndbox>`` there.
        difficult: hard to recognise; VOC does not count it in evaluation.
    """

    name: str
    corners: tuple[float, float, float, float] | None
    difficult: bool


@dataclass(frozen=True)
class VocAnnotation:
    """One file: its objects, and the (width, height) it claims for the image, if any."""

    objects: tuple[VocObject, ...]
    size: tuple[int, int] | None


def read_annotation(path: str | Path) -> VocAnnotation:
    """Parse one file.

    Raises:
        UserError: it is missing, is no XML, or an object lacks a name or has corners that are not
            numbers.
    """
    try:
        tree = ET.parse(path)
    except FileNotFoundError as error:
        raise UserError(
            f"annotation {path} does not exist (for a target without labels, register the data "
            "set with labelled=False)"
        ) from error
    except (ET.ParseError, UnicodeDecodeError) as error:
        raise UserError(f"annotation {path} is not valid XML: {error}") from error
    objects = tuple(_read_object(e, path) for e in tree.findall("object"))
    try:
        size = (int(tree.findtext("size/width")), int(tree.findtext("size/height")))
    except (TypeError, ValueError):  # the size is optional: the image knows
        size = None
    return VocAnnotation(objects, size)


def _read_object(element: ET.Element, path: str | Path) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"annotation {path}: an object without a name")
    difficult = (element.findtext("difficult") or "").strip() == "1"
    box = element.find("bndbox")
    if box is None:
        return VocObject(name, None, difficult)
    texts = {corner: box.findtext(corner) for corner in _CORNERS}
    try:
        corners = tuple(float(texts[corner]) for corner in _CORNERS)
    except (TypeError, ValueError):
        corners = (math.nan,) * 4
    if not all(map(math.isfinite, corners)):
        raise UserError(f"annotation {path}: the box of {name!r} is not four numbers: {texts}")
    return VocObject(name, corners, difficult)


def box_in_image(
    obj: VocObject, size: tuple[int, int], path: str | Path
) -> tuple[list[float], bool]:
    """The box in Detectron2's coordinates, checked against the image.

    A box that covers the whole image is (1, 1, W, H) in the file and (0, 0, W, H) here.

    Args:
        obj: an object of ``path``.
        size: width and height of the image in pixels.

    Returns:
        ``[x0, y0, x1, y1]`` in continuous pixel coordinates from 0, and whether it had to be
        clipped, by at most :data:`TOLERANCE`.

    Raises:
        UserError: no box, the placeholder box of image-level annotations, an inverted box, or
            one that leaves the image.
    """
    if obj.corners is None:
        raise UserError(f"annotation {path}: {obj.name!r} has no <bndbox>")
    if obj.corners == (1, 1, 1, 1):
        raise UserError(
            f"annotation {path}: the box of {obj.name!r} is the placeholder (1, 1, 1, 1). The "
            "'extra' splits of the cross-domain sets have image-level labels only: register "
            "them with labelled=False and use them as a target, or use the split 'train'"
        )
    xmin, ymin, xmax, ymax = obj.corners
    where = f"annotation {path}: the box of {obj.name!r}, ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})"
    if xmax < xmin or ymax < ymin:
        raise UserError(f"{where}, is inverted: xmin <= xmax and ymin <= ymax must hold")
    width, height = size
    box = [xmin - 1, ymin - 1, xmax, ymax]
    inside = [max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height)]
    too_far = any(abs(a - b) > TOLERANCE for a, b in zip(box, inside))
    if too_far or inside[2] <= inside[0] or inside[3] <= inside[1]:
        raise UserError(f"{where}, lies outside the image of {width}x{height} pixels")
    return inside, inside != box
