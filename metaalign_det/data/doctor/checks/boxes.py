"""Boxes that cannot be right. Readers of this package refuse the worst; other functions may not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from detectron2.structures import BoxMode

from ...formats.problems import AreaError
from ..findings import Finding, Severity, check
from ..inspection import Inspection, Subject

_OUTSIDE = 2.0  # pixels; annotation tools are off by one
_TINY = 4.0  # pixels of the shorter side: a quarter of a cell of the usual feature map
_SHOWN_BOX = "{file}: ({x0:g}, {y0:g}, {x1:g}, {y1:g})"


@check()
def boxes_outside(inspection: Inspection) -> Iterator[Finding]:
    """A box that leaves its image belongs to another one, or to another size of it."""

    def outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        over = np.concatenate([-boxes[:, :2], boxes[:, 2:] - sizes], axis=1)
        return ~np.isfinite(boxes).all(axis=1) | (over > _OUTSIDE).any(axis=1)

    yield from _of_all(
        inspection,
        outside,
        Severity.ERROR,
        "leave their image",
        "Correct them; are they those of a resized copy, or width and height exchanged?",
    )


@check()
def boxes_without_area(inspection: Inspection) -> Iterator[Finding]:
    """Width or height 0 or below: inverted corners, or a click.

    Readers of this package leave those of no area out, and go on; other functions may not.
    """
    for subject in inspection.subjects:
        left_out = tuple(str(p) for p in subject.problems if isinstance(p, AreaError))
        if left_out:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(left_out)} box(es) without area are left out",
                "Remove or correct them; if there are many, a width or height got lost",
                len(left_out),
                left_out,
            )
    yield from _of_all(
        inspection,
        lambda boxes, sizes: ~((boxes[:, 2:] - boxes[:, :2]) > 0).all(axis=1),
        Severity.ERROR,
        "have no area",
        "Remove them; if there are many, x and width or the corners are exchanged",
    )


@check()
def boxes_tiny(inspection: Inspection) -> Iterator[Finding]:
    """Objects that are nearly invisible to the network."""

    def tiny(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        sides = boxes[:, 2:] - boxes[:, :2]
        return (sides > 0).all(axis=1) & (sides.min(axis=1) < _TINY)

    yield from _of_all(
        inspection,
        tiny,
        Severity.NOTE,
        f"are less than {_TINY:g} pixels wide or high",
        "Remove slips of the mouse; for objects that are so small use larger images",
    )


@check()
def boxes_twice(inspection: Inspection) -> Iterator[Finding]:
    """One object that is labelled twice counts as one detected and one missed."""
    for subject in inspection.subjects:
        examples = []
        for d in subject.dicts:
            seen = set()
            for a in d.get("annotations", ()):
                key = (a["category_id"], *(round(float(x), 1) for x in a["bbox"]))
                if key in seen:
                    box = ", ".join(f"{x:g}" for x in key[1:])
                    examples.append(f"{d['file_name']}: class {key[0]}, box ({box})")
                seen.add(key)
        if examples:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(examples)} box(es) repeat another of the same class in the same image",
                "Remove one of each pair",
                len(examples),
                tuple(examples),
            )


def _of_all(
    inspection: Inspection,
    wrong: Callable[[np.ndarray, np.ndarray], np.ndarray],
    severity: Severity,
    what: str,
    remedy: str,
) -> Iterator[Finding]:
    """A finding per data set with boxes of which ``wrong`` is true.

    Args:
        wrong: (boxes (n, 4) as x0, y0, x1, y1; sizes of their images (n, 2) as width, height) ->
            mask (n,).
    """
    for subject in inspection.subjects:
        boxes, sizes, files = _boxes(subject)
        if not len(boxes):
            continue
        found = np.flatnonzero(wrong(boxes, sizes))
        if len(found):
            examples = (
                _SHOWN_BOX.format(file=files[i], **dict(zip(("x0", "y0", "x1", "y1"), boxes[i])))
                for i in found
            )
            yield Finding(
                severity,
                subject.name,
                f"{len(found)} of {len(boxes)} boxes {what}",
                remedy,
                len(found),
                tuple(examples),
            )


def _boxes(subject: Subject) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """All boxes (n, 4), the sizes of their images (n, 2), and their files."""
    boxes, sizes, files = [], [], []
    for d in subject.dicts:
        for a in d.get("annotations", ()):
            mode = a.get("bbox_mode", BoxMode.XYXY_ABS)
            box = list(a["bbox"])
            if mode != BoxMode.XYXY_ABS:
                box = BoxMode.convert(box, mode, BoxMode.XYXY_ABS)
            boxes.append(box)
            # A function that gives no size is asked for none here; the image tells later.
            sizes.append((d.get("width", np.inf), d.get("height", np.inf)))
            files.append(d["file_name"])
    shape = (len(boxes), 4)
    return (
        np.array(boxes, dtype=np.float64).reshape(shape),
        np.array(sizes, dtype=np.float64).reshape(len(boxes), 2),
        files,
    )
