"""One annotation file of a VOC tree."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.parsers import expat

from ...errors import UserError
from .paths import show
from .text_files import read_bytes

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_WORDS = {"": False, "false": False, "no": False, "unspecified": False, "true": True, "yes": True}
_MAX_DEPTH = 50  # elements within each other; VOC has 5
_LARGEST = 1e9  # no image has as many pixels on a side


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
        UserError: it is missing, no plain file, no XML, XML of another kind, declares entities, or
            an object lacks a name, has corners that are not numbers, or is neither difficult nor
            not.
    """
    remedy = (
        " (for a target without labels, register the data set with LABELLED: False; for images "
        "without objects that have no XML, with NEGATIVES: True)"
    )
    root = _parse(read_bytes(Path(path), "annotation", remedy), path)
    objects = tuple(_read_object(e, path) for e in root.findall("object"))
    if not objects and root.tag != "annotation":
        raise UserError(
            f"annotation {path} is XML of another kind: it is a {show(root.tag)}, and VOC's is an "
            "'annotation'"
        )
    try:
        size = (int(root.findtext("size/width")), int(root.findtext("size/height")))
    except (TypeError, ValueError):  # the size is optional: the image knows
        size = None
    if size is not None and max(map(abs, size)) > _LARGEST:
        size = None
    return VocAnnotation(objects, size)


def _parse(data: bytes, path: str | Path) -> ET.Element:
    """The root element.

    Built on expat itself, to refuse entities: nine of them within each other expand to gigabytes
    (the "billion laughs"), and no VOC file has any.
    """
    parser = expat.ParserCreate()
    builder = ET.TreeBuilder()
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MAX_DEPTH:
            raise UserError(f"annotation {path}: more than {_MAX_DEPTH} elements in each other")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(name: str, *_: Any) -> None:
        raise UserError(f"annotation {path} declares the entity {show(name)}: remove it")

    parser.buffer_text = True
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except UserError:
        raise
    # LookupError, ValueError: an encoding that Python does not have, or that is none of text.
    except (expat.ExpatError, ET.ParseError, LookupError, ValueError, AssertionError) as error:
        raise UserError(f"annotation {path} is not valid XML: {error!s:.200}") from error


def _read_object(element: ET.Element, path: str | Path) -> VocObject:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise UserError(f"annotation {path}: an object without a name")
    flag = (element.findtext("difficult") or "").strip()
    try:
        difficult = _WORDS[flag.lower()] if flag.lower() in _WORDS else float(flag) > 0
    except ValueError:
        raise UserError(
            f"annotation {path}: <difficult> of {show(name)} must be 0 or 1, not {show(flag)}"
        ) from None
    box = element.find("bndbox")
    if box is None:
        return VocObject(name, None, difficult)
    texts = {corner: box.findtext(corner) for corner in _CORNERS}
    try:
        corners = tuple(float(texts[corner]) for corner in _CORNERS)
    except (TypeError, ValueError):
        corners = (math.nan,) * 4
    if not all(abs(c) < _LARGEST for c in corners):  # also false for NaN
        raise UserError(
            f"annotation {path}: the box of {show(name)} is not four numbers: "
            + ", ".join(f"{corner} {show(text)}" for corner, text in texts.items())
        )
    return VocObject(name, corners, difficult)


def continuous_corners(obj: VocObject, path: str | Path) -> tuple[list[float], str]:
    """The box in Detectron2's coordinates, and what names it in a message.

    A box that covers the whole image is (1, 1, W, H) in the file and (0, 0, W, H) here.

    Args:
        obj: an object of ``path``.

    Returns:
        ``[x0, y0, x1, y1]`` in continuous pixel coordinates from 0, and the text.

    Raises:
        UserError: no box, the placeholder box of image-level annotations, or an inverted box.
    """
    if obj.corners is None:
        raise UserError(f"annotation {path}: {show(obj.name)} has no <bndbox>")
    if obj.corners == (1, 1, 1, 1):
        raise UserError(
            f"annotation {path}: the box of {show(obj.name)} is the placeholder (1, 1, 1, 1). The "
            "'extra' splits of the cross-domain sets have image-level labels only: register "
            "them with LABELLED: False and use them as a target, or use the split 'train'"
        )
    xmin, ymin, xmax, ymax = obj.corners
    where = f"annotation {path}: the box of {show(obj.name)}"
    if xmax < xmin or ymax < ymin:
        raise UserError(
            f"{where}, ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}), is inverted: xmin <= xmax and "
            "ymin <= ymax must hold"
        )
    return [xmin - 1, ymin - 1, xmax, ymax], where
