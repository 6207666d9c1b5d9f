"""Which detection found which object, by the rule of the VOC devkit; numpy only, no Detectron2.

The one matching behind average precision resampled over images, the error types and calibration,
so that all of them speak of the same true positives. (The confusion matrix is blind to classes.)

Shape shorthand: N images, M detections and G ground-truth boxes in all images, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .average_precision import Curve, Detected, Truth, ap_11_point, inclusive_iou, joined

FALSE, TRUE, IGNORED = 0, 1, 2


class Matches(NamedTuple):
    """Every detection of a data set, beside the objects it may have meant.

    Attributes:
        images: N.
        image, classes, scores (ndarray): shape (M,), of the detections, image by image.
        outcome (ndarray): shape (M,): TRUE, FALSE, or IGNORED where it lies on a difficult box.
        own_box, other_box (ndarray): shape (M,), number of the box that it overlaps most, of its
            own class and of any other class; -1 where the image has none.
        own_iou, other_iou (ndarray): shape (M,), that overlap; -1 where there is none.
        box_image, box_class (ndarray): shape (G,).
        difficult (ndarray): shape (G,) of bool.
    """

    images: int
    image: NDArray
    classes: NDArray
    scores: NDArray
    outcome: NDArray
    own_box: NDArray
    own_iou: NDArray
    other_box: NDArray
    other_iou: NDArray
    box_image: NDArray
    box_class: NDArray
    difficult: NDArray


def match(
    truths: Sequence[Truth], detected: Sequence[Detected], iou_threshold: float = 0.5
) -> Matches:
    """Match detections with ground truth, class by class; see :func:`.precision_recall`.

    Args:
        truths: one entry per image, all classes.
        detected: likewise, in the same order.
        iou_threshold: a match overlaps by *more* than this.
    """
    rows: list[tuple] = []
    offset = 0
    for truth, found in zip(truths, detected, strict=True):
        rows.append(_overlaps(truth, found, offset))
        offset += len(truth.boxes)
    own_box, own_iou, other_box, other_iou = (
        np.concatenate([np.zeros(0), *(row[i] for row in rows)]) for i in range(4)
    )
    own_box, other_box = own_box.astype(np.int64), other_box.astype(np.int64)
    classes = joined((d.classes for d in detected), np.int64)
    scores = joined((d.scores for d in detected), np.float64)
    difficult = joined((t.difficult for t in truths), bool)

    outcome = np.full(len(scores), FALSE, np.int8)
    hit = np.flatnonzero(own_iou > iou_threshold)
    ignored = difficult[own_box[hit]]
    outcome[hit[ignored]] = IGNORED
    candidates = hit[~ignored]
    candidates = candidates[np.argsort(-scores[candidates], kind="stable")]
    first = np.unique(own_box[candidates], return_index=True)[1]
    outcome[candidates[first]] = TRUE
    return Matches(
        images=len(truths),
        image=np.repeat(np.arange(len(detected)), [len(d.scores) for d in detected]),
        classes=classes,
        scores=scores,
        outcome=outcome,
        own_box=own_box,
        own_iou=own_iou,
        other_box=other_box,
        other_iou=other_iou,
        box_image=np.repeat(np.arange(len(truths)), [len(t.boxes) for t in truths]),
        box_class=joined((t.classes for t in truths), np.int64),
        difficult=difficult,
    )


def _overlaps(truth: Truth, found: Detected, offset: int) -> tuple[NDArray, ...]:
    """Best box and overlap of own class, then of other classes, each of shape (D,)."""
    nothing = np.full(len(found.scores), -1.0)
    if not len(truth.boxes) or not len(found.scores):
        return nothing, nothing, nothing, nothing
    iou = inclusive_iou(found.boxes.astype(np.float64), truth.boxes.astype(np.float64))
    same = found.classes[:, None] == truth.classes[None]
    out = []
    for allowed in (same, ~same):
        overlap = np.where(allowed, iou, -1.0)
        box, best = overlap.argmax(axis=1), overlap.max(axis=1)
        out += [np.where(best < 0, -1, box + offset), best]
    return tuple(out)


def curve(
    scores: NDArray, true: NDArray, positives: float, weights: NDArray | None = None
) -> Curve:
    """Precision over recall of one class.

    Args:
        scores (ndarray): shape (m,), of the detections that count.
        true (ndarray): shape (m,) of bool.
        positives: objects to find.
        weights (ndarray): shape (m,), how often each detection is there; default once.

    Returns:
        Curve: by falling score.
    """
    order = np.argsort(-scores, kind="stable")
    weight = np.ones(len(order)) if weights is None else weights[order]
    tp = np.cumsum(weight * true[order])
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = tp / np.float64(positives)
    return Curve(recall, tp / np.maximum(np.cumsum(weight), np.finfo(np.float64).eps), positives)


def average_precisions(
    matches: Matches,
    num_classes: int,
    average: Callable[[Curve], float] = ap_11_point,
    weights: NDArray | None = None,
) -> NDArray:
    """AP per class, as :func:`.precision_recall` and ``average`` give it.

    Args:
        matches: of :func:`match`.
        num_classes: K.
        average: AP of a curve.
        weights (ndarray): shape (N,), how often each image counts; default once.

    Returns:
        ndarray: shape (K,), in [0, 1]; NaN for a class without a positive.
    """
    weights = np.ones(matches.images) if weights is None else weights
    counted = matches.outcome != IGNORED
    out = []
    for k in range(num_classes):
        of = np.flatnonzero(counted & (matches.classes == k))
        objects = ~matches.difficult & (matches.box_class == k)
        out.append(
            average(
                curve(
                    matches.scores[of],
                    matches.outcome[of] == TRUE,
                    weights[matches.box_image[objects]].sum(),
                    weights[matches.image[of]],
                )
            )
        )
    return np.array(out)


def resampled_mean_ap(
    matches: Matches,
    num_classes: int,
    weights: NDArray,
    average: Callable[[Curve], float] = ap_11_point,
) -> NDArray:
    """Mean AP over classes on each of several resamples of the test images.

    Two detectors on the same resamples give a paired bootstrap of their difference.

    Args:
        matches: of :func:`match`.
        num_classes: K.
        weights (ndarray): shape (resamples, N), how often each image is drawn.
        average: AP of a curve.

    Returns:
        ndarray: shape (resamples,), in [0, 1].
    """
    total = np.zeros(len(weights))
    present = np.zeros(len(weights))
    for k in range(num_classes):
        of = np.flatnonzero((matches.outcome != IGNORED) & (matches.classes == k))
        of = of[np.argsort(-matches.scores[of], kind="stable")]
        objects = ~matches.difficult & (matches.box_class == k)
        positives = weights[:, matches.box_image[objects]].sum(axis=1)
        weight = weights[:, matches.image[of]].astype(np.float64)
        tp = np.cumsum(weight * (matches.outcome[of] == TRUE), axis=1)
        precision = tp / np.maximum(np.cumsum(weight, axis=1), np.finfo(np.float64).eps)
        for i in np.flatnonzero(positives):
            total[i] += average(Curve(tp[i] / positives[i], precision[i], int(positives[i])))
            present[i] += 1
    with np.errstate(invalid="ignore"):
        return total / present
