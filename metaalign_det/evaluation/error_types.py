"""What kind of error a detector makes, and what each kind costs in average precision.

The six types of TIDE (Bolya et al., ECCV 2020), written from the paper. A false positive is, with
overlaps taken to the box it overlaps most,

    localization     tb <= IoU <= tf with a box of its own class: the right thing, badly framed
    classification   IoU > tf with a box of another class: well framed, the wrong name
    duplicate        IoU > tf with a box of its own class that a better detection has found
    background       IoU < tb with every box: nothing there
    both             tb <= IoU <= tf with a box of another class: neither name nor frame

and of several that apply, the first in this order counts. A ground-truth box is *missed* if no
detection found it and no localization or classification error lies on it.

The cost of a type, dAP, is what AP gains if all its errors are fixed. Of the localization and
classification errors on a box that nobody found, the best-scored becomes a true positive when its
type is fixed; all other errors of the type are taken away. Missed boxes are not asked for. The
costs do not add up to 100 - AP, since an error fixed changes what the others cost.

Types and fixes are those of the authors' toolkit tidecv 1.0, which counts the same errors on Mini
VOC->Watercolor and finds the same costs but for its 101-point AP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .average_precision import Curve, ap_11_point
from .matching import FALSE, IGNORED, TRUE, Matches, curve

#: Types of false positives, in the order in which they are tried.
FALSE_POSITIVE_TYPES = ("localization", "classification", "duplicate", "background", "both")
ERROR_TYPES = (*FALSE_POSITIVE_TYPES, "missed")


@dataclass(frozen=True)
class ErrorBreakdown:
    """Errors of one detector on one data set, by type.

    Args:
        ap: mean AP over classes, in percent.
        cost: type -> dAP, points of that AP.
        count: type -> errors.
        count_by_class: type -> shape (K,); false positives by the class they claim, missed boxes
            by their own.
        false_positive_cost: points gained without any false positive.
        false_negative_cost: points gained if boxes that were not found were not asked for.
    """

    ap: float
    cost: dict[str, float]
    count: dict[str, int]
    count_by_class: dict[str, NDArray]
    false_positive_cost: float
    false_negative_cost: float

    @property
    def main(self) -> str:
        """The type that costs most."""
        return max(self.cost, key=lambda kind: self.cost[kind])


def classify_errors(
    matches: Matches, *, foreground: float = 0.5, background: float = 0.1
) -> tuple[NDArray, NDArray]:
    """The type of each false positive, and which boxes are missed.

    Args:
        matches: of :func:`.match`, at ``iou_threshold`` = ``foreground``.
        foreground: tf; overlap above it is well framed.
        background: tb; overlap below it is none.

    Returns:
        tuple: kind (ndarray) of shape (M,), index in FALSE_POSITIVE_TYPES or -1 for what is no
        error; missed (ndarray) of shape (G,) of bool.
    """
    own, other = matches.own_iou, matches.other_iou
    conditions = [
        (own >= background) & (own <= foreground),
        other > foreground,
        own > foreground,
        np.maximum(own, other) < background,
    ]
    kind = np.select(conditions, range(4), default=4)
    kind[matches.outcome != FALSE] = -1
    missed = ~matches.difficult
    for found in (
        matches.own_box[matches.outcome == TRUE],
        matches.own_box[kind == _number("localization")],
        matches.other_box[kind == _number("classification")],
    ):
        missed[found] = False
    return kind, missed


def break_down(
    matches: Matches,
    num_classes: int,
    *,
    foreground: float = 0.5,
    background: float = 0.1,
    average: Callable[[Curve], float] = ap_11_point,
) -> ErrorBreakdown:
    """Count the errors of each type and measure what each costs.

    Args:
        matches: of :func:`.match`, at ``iou_threshold`` = ``foreground``.
        num_classes: K.
        foreground, background: tf and tb of the types.
        average: AP of a curve; the one that is reported beside this.
    """
    kind, missed = classify_errors(matches, foreground=foreground, background=background)
    objects = np.bincount(matches.box_class[~matches.difficult], minlength=num_classes)
    base = _Detections(
        matches.classes.copy(), matches.scores, matches.outcome == TRUE, matches.outcome != IGNORED
    )
    scored = objects > 0

    def ap(found: _Detections, asked: NDArray = objects) -> float:
        return 100.0 * found.mean_ap(asked, scored, average)

    ap_now = ap(base)
    meant = np.where(kind == _number("localization"), matches.own_box, matches.other_box)
    fixable = _fixable(matches, kind, meant)
    cost, count, by_class = {}, {}, {}
    for number, name in enumerate(FALSE_POSITIVE_TYPES):
        errors = kind == number
        count[name] = int(errors.sum())
        by_class[name] = np.bincount(matches.classes[errors], minlength=num_classes)
        fixed = base.only(base.counted & ~errors)
        if name in ("localization", "classification"):
            fixed = _promote(fixed, matches, fixable[errors[fixable]], meant)
        cost[name] = ap(fixed) - ap_now
    count["missed"] = int(missed.sum())
    by_class["missed"] = np.bincount(matches.box_class[missed], minlength=num_classes)
    cost["missed"] = ap(base, objects - by_class["missed"]) - ap_now
    found = np.bincount(matches.classes[base.true], minlength=num_classes)
    return ErrorBreakdown(
        ap=ap_now,
        cost=cost,
        count=count,
        count_by_class=by_class,
        false_positive_cost=ap(base.only(base.true)) - ap_now,
        false_negative_cost=ap(base, found) - ap_now,
    )


@dataclass(frozen=True)
class _Detections:
    """What AP is computed from: classes, scores, true, counted, each of shape (M,)."""

    classes: NDArray
    scores: NDArray
    true: NDArray
    counted: NDArray

    def only(self, counted: NDArray) -> _Detections:
        return _Detections(self.classes, self.scores, self.true & counted, counted)

    def mean_ap(self, objects: NDArray, scored: NDArray, average: Callable) -> float:
        """Over the classes that have objects in the data set; one asked for nothing is perfect."""
        values = []
        for k in np.flatnonzero(scored):
            of = self.counted & (self.classes == k)
            asked = int(objects[k])
            values.append(average(curve(self.scores[of], self.true[of], asked)) if asked else 1.0)
        return float(np.mean(values)) if values else float("nan")


def _fixable(matches: Matches, kind: NDArray, meant: NDArray) -> NDArray:
    """The one error that could become the true positive of each box that nobody found.

    Args:
        matches, kind: of :func:`classify_errors`.
        meant (ndarray): shape (M,), the box that a localization or classification error lies on.

    Returns:
        ndarray: indices of detections, the best-scored on each box, whatever its type.
    """
    is_free = ~matches.difficult
    is_free[matches.own_box[matches.outcome == TRUE]] = False
    types = [_number("localization"), _number("classification")]
    rivals = np.flatnonzero(np.isin(kind, types))
    rivals = rivals[is_free[meant[rivals]]]
    rivals = rivals[np.argsort(-matches.scores[rivals], kind="stable")]
    return rivals[np.unique(meant[rivals], return_index=True)[1]]


def _promote(found: _Detections, matches: Matches, winners: NDArray, meant: NDArray) -> _Detections:
    """Detections that become true positives of the boxes they meant."""
    classes, true, counted = found.classes.copy(), found.true.copy(), found.counted.copy()
    true[winners], counted[winners] = True, True
    classes[winners] = matches.box_class[meant[winners]]
    return _Detections(classes, found.scores, true, counted)


def _number(name: str) -> int:
    return FALSE_POSITIVE_TYPES.index(name)
