"""Average precision by the rules of the PASCAL VOC devkit and of COCO; numpy only, no Detectron2.

Shape shorthand: D detections and G ground-truth boxes in one image, M detections in all images,
K classes. Boxes are (x0, y0, x1, y1) in absolute pixels, continuous and 0-based as in Detectron2.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray


class Truth(NamedTuple):
    """Ground truth of one image: boxes (G, 4), classes (G,), difficult (G,) of bool."""

    boxes: NDArray
    classes: NDArray
    difficult: NDArray

    def of(self, k: int) -> Truth:
        """The part that is of class ``k``."""
        return Truth(*(x[self.classes == k] for x in self))


class Detected(NamedTuple):
    """Detections in one image: boxes (D, 4), classes (D,), scores (D,)."""

    boxes: NDArray
    classes: NDArray
    scores: NDArray

    def of(self, k: int) -> Detected:
        """The part that is of class ``k``."""
        return Detected(*(x[self.classes == k] for x in self))


def inclusive_iou(a: NDArray, b: NDArray) -> NDArray:
    """Intersection over union as in the VOC devkit, which counts whole pixels.

    There a box from pixel 3 to pixel 5 is 3 wide, hence the ``+ 1`` below after the 0-based
    continuous boxes have gone back to the 1-based inclusive pixels of the XML files.

    Args:
        a (ndarray): shape (D, 4).
        b (ndarray): shape (G, 4).

    Returns:
        ndarray: shape (D, G).
    """
    to_pixels = np.array([1.0, 1.0, 0.0, 0.0])
    a, b = a[:, None] + to_pixels, b[None] + to_pixels
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1.0
    inter = np.maximum(size, 0.0).prod(axis=-1)
    area_a = (a[..., 2:] - a[..., :2] + 1.0).prod(axis=-1)
    area_b = (b[..., 2:] - b[..., :2] + 1.0).prod(axis=-1)
    return inter / (area_a + area_b - inter)


class Curve(NamedTuple):
    """Recall (M,) and precision (M,) by falling score, and the number of positives."""

    recall: NDArray
    precision: NDArray
    positives: float


def precision_recall(
    truths: Sequence[Truth], detected: Sequence[Detected], iou_threshold: float = 0.5
) -> Curve:
    """Precision and recall of one class over all images, by the rules of the VOC devkit.

    Every detection is compared with the box it overlaps most, whether or not another one has
    taken that box already. Above the threshold it is a true positive if it is the first, by
    score, on that box, a false positive if it is a later one, and counts as nothing if the box is
    difficult. Difficult boxes are no positives. Equal scores keep the order of the images and,
    within one, of the detections.

    Args:
        truths: one entry per image, this class only.
        detected: likewise, in the same order.
        iou_threshold: a match overlaps by *more* than this.
    """
    scores, overlap, best, difficult = [], [], [], []
    offset = 0
    for truth, found in zip(truths, detected, strict=True):
        scores.append(found.scores)
        if len(truth.boxes) and len(found.boxes):
            iou = inclusive_iou(found.boxes.astype(np.float64), truth.boxes.astype(np.float64))
            overlap.append(iou.max(axis=1))
            best.append(iou.argmax(axis=1) + offset)
        else:
            overlap.append(np.full(len(found.boxes), -np.inf))
            best.append(np.full(len(found.boxes), -1))
        difficult.append(truth.difficult)
        offset += len(truth.boxes)

    is_difficult = joined(difficult, bool)
    positives = int((~is_difficult).sum())
    order = np.argsort(-joined(scores, np.float64), kind="stable")
    hit = (joined(overlap, np.float64) > iou_threshold)[order]
    box = joined(best, np.int64)[order]
    counted = ~hit
    counted[hit] = ~is_difficult[box[hit]]
    candidates = np.flatnonzero(hit & counted)
    first = np.unique(box[candidates], return_index=True)[1]
    true_positive = np.zeros(len(box), dtype=bool)
    true_positive[candidates[first]] = True

    tp = np.cumsum(true_positive)
    fp = np.cumsum(counted & ~true_positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall = tp / np.float64(positives)
    return Curve(recall, tp / np.maximum(tp + fp, np.finfo(np.float64).eps), positives)


def joined(parts: Iterable[NDArray], dtype: DTypeLike) -> NDArray:
    """Arrays end to end; an empty one of this type where there is none."""
    return np.concatenate([np.zeros(0, dtype), *parts]).astype(dtype)


def ap_11_point(curve: Curve) -> float:
    """AP of VOC 2007: the mean over recall 0, 0.1, ..., 1 of the best precision from there on.

    Returns:
        float: in [0, 1]; NaN without a positive.
    """
    if not curve.positives:
        return float("nan")
    points = np.arange(0.0, 1.1, 0.1)  # 0.30000000000000004 and all, as in the devkit's Python
    # Recall only grows, so that everything from a point on is a tail.
    best = np.append(np.maximum.accumulate(curve.precision[::-1])[::-1], 0.0)
    return float(np.sum(best[np.searchsorted(curve.recall, points)]) / 11.0)


def ap_area(curve: Curve) -> float:
    """AP of VOC 2010 and later: the area under the monotone envelope of precision over recall.

    Returns:
        float: in [0, 1]; NaN without a positive.
    """
    if not curve.positives:
        return float("nan")
    recall = np.concatenate([[0.0], curve.recall, [1.0]])
    precision = np.concatenate([[0.0], curve.precision, [0.0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * envelope[1:]))


def coco_ap(truths: Sequence[Truth], detected: Sequence[Detected], num_classes: int) -> NDArray:
    """COCO AP per class: 101-point, mean over IoU 0.5, 0.55, ..., 0.95, 100 detections an image.

    Computed by pycocotools from in-memory annotations. Difficult boxes go in as COCO's crowds:
    they are no positives, and detections inside them count as nothing.

    Args:
        truths: one entry per image, all classes.
        detected: likewise, in the same order.
        num_classes: K.

    Returns:
        ndarray: shape (K,), in [0, 1]; NaN for a class without a positive.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    images = [{"id": i} for i in range(len(truths))]
    categories = [{"id": k, "name": str(k)} for k in range(num_classes)]

    def table(entries: Sequence[Any], extra: Callable[[Any, int], dict]) -> COCO:
        annotations: list[dict] = []
        for i, entry in enumerate(entries):
            for j, (x0, y0, x1, y1) in enumerate(entry.boxes.tolist()):
                w, h = x1 - x0, y1 - y0
                annotations.append(
                    {
                        "id": len(annotations) + 1,  # from 1: 0 means "no match" to COCOeval
                        "image_id": i,
                        "category_id": int(entry.classes[j]),
                        "bbox": [x0, y0, w, h],
                        "area": w * h,
                        **extra(entry, j),
                    }
                )
        coco = COCO()
        coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
        coco.createIndex()
        return coco

    if not truths:
        return np.full(num_classes, np.nan)
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools reports by print
        run = COCOeval(
            table(truths, lambda t, j: {"iscrowd": int(t.difficult[j])}),
            table(detected, lambda d, j: {"iscrowd": 0, "score": float(d.scores[j])}),
            "bbox",
        )
        run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
        run.params.maxDets = [100]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, 0]  # (IoU, recall, K); -1 without positives
    mean = precision.mean(axis=(0, 1))
    return np.where(mean < 0, np.nan, mean)
