"""From what a reader found to Detectron2's dataset dicts: the step that all formats share."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from detectron2.structures import BoxMode
from detectron2.utils.logger import log_first_n

from .boxes import BoxFitter, ImageRecord
from .class_names import ClassRule
from .problems import AreaError, SizeError, noted

logger = logging.getLogger(__name__)

_SHOWN = 10  # files named in one message


def unlabelled_dicts(records: Iterable[ImageRecord]) -> list[dict]:
    """Dataset dicts of images alone: ``file_name``, ``image_id``, ``height``, ``width``."""
    return [
        {"file_name": r.file_name, "image_id": r.image_id, "height": r.size[1], "width": r.size[0]}
        for r in records
    ]


def labelled_dicts(
    records: Sequence[ImageRecord], rule: ClassRule, declared: Sequence[str] | None = None
) -> tuple[tuple[str, ...], list[dict]]:
    """Dataset dicts with ``annotations``.

    Args:
        records: with boxes.
        rule: classes.
        declared: see :meth:`.ClassRule.number`.

    Returns:
        the class names, and one dict per image. Its ``annotations`` are dicts of ``bbox`` ([x0, y0,
        x1, y1], absolute pixels from 0, continuous), ``bbox_mode``, ``category_id``,
        ``difficult`` (bool; trained on, left out of the score) and, where it is set,
        ``iscrowd`` 1 (neither trained on nor scored).

    Raises:
        UserError: a class that the rule does not know.
    """
    first_use: dict[str, str] = {}
    for record in records:
        for box in record.boxes or ():
            first_use.setdefault(box.name, record.where)
    index, numbers = rule.number(first_use, declared)
    dicts = unlabelled_dicts(records)
    for d, record in zip(dicts, records):
        d["annotations"] = [
            {
                "bbox": box.corners,
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": numbers[box.name],
                "difficult": box.difficult,
                **({"iscrowd": 1} if box.crowd else {}),
            }
            for box in record.boxes or ()
            if numbers[box.name] is not None
        ]
    return index.names, dicts


def report_boxes(where: str, fitter: BoxFitter) -> None:
    """Tell what reading a data set did to its boxes."""
    if fitter.clipped:
        logger.info(
            "%s: %d boxes reached a pixel or two outside their image; clipped",
            where,
            fitter.clipped,
        )
    collected = [noted(AreaError(f"{box}, has no area")) for box in fitter.flat]
    if not all(collected):
        warn_once(
            f"{where}: {len(fitter.flat)} boxes without area are left out, for one: "
            f"{fitter.flat[0]}"
        )


def says_size(width: Any, height: Any, size: tuple[int, int]) -> bool:
    """Whether a JSON gives this size, as numbers or (some exporters) as text; or gives none."""
    try:
        return (width, height) == (None, None) or (float(width), float(height)) == size
    except (TypeError, ValueError, OverflowError):
        return False


def report_sizes(where: str, mismatched: Sequence[str]) -> None:
    """Warn about annotations that disagree with their image about its size."""
    collected = [noted(SizeError(f"{where}: {text}")) for text in mismatched]
    if not all(collected):
        more = len(mismatched) - _SHOWN
        warn_once(
            f"{where}: {len(mismatched)} annotations disagree with their image about its size; "
            f"the image is right: {'; '.join(mismatched[:_SHOWN])}"
            + (f"; and {more} more" if more > 0 else "")
        )


def warn_once(message: str) -> None:
    """Data may be read by the start-up check, the loader and the evaluator; once is enough."""
    log_first_n(logging.WARNING, message, n=1, key="message")
