"""Which class a detector takes for which; numpy only.

Unlike average precision, matching here is blind to classes: a well-framed box of the wrong class
is a confusion, not a false alarm and a miss.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .average_precision import Detected, Truth, inclusive_iou


def detection_confusion(
    truths: Sequence[Truth],
    detected: Sequence[Detected],
    num_classes: int,
    *,
    score_threshold: float = 0.5,
    iou_threshold: float = 0.5,
) -> NDArray:
    """Count what objects are taken for.

    By falling score, a detection takes the free box that it overlaps by more than
    ``iou_threshold``: one of its own class if there is any, and of several the one it overlaps
    most. A detection that takes none but overlaps a difficult box that much counts as nothing,
    and so does a difficult box.

    Args:
        truths: one entry per image, all classes.
        detected: likewise, in the same order.
        num_classes: K.
        score_threshold: detections below it are left out.
        iou_threshold: see above.

    Returns:
        ndarray: shape (K + 1, K + 1), counts; rows are true classes, the last one background;
        columns are predicted classes, the last one "missed".
    """
    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    for truth, found in zip(truths, detected, strict=True):
        free = ~np.asarray(truth.difficult, dtype=bool)
        keep = np.flatnonzero(found.scores >= score_threshold)
        keep = keep[np.argsort(-found.scores[keep], kind="stable")]
        overlap = np.zeros((len(keep), len(truth.boxes)))
        if overlap.size:
            boxes = found.boxes[keep].astype(np.float64)
            overlap = inclusive_iou(boxes, truth.boxes.astype(np.float64))
        for k, iou in zip(found.classes[keep], overlap):
            near = iou > iou_threshold
            candidates = np.flatnonzero(near & free)
            if len(candidates):
                own = candidates[truth.classes[candidates] == k]
                pool = own if len(own) else candidates
                box = pool[iou[pool].argmax()]
                free[box] = False
                counts[truth.classes[box], k] += 1
            elif not (near & truth.difficult).any():
                counts[num_classes, k] += 1
        np.add.at(counts, (truth.classes[free], num_classes), 1)
    return counts
