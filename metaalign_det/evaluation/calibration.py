"""Whether scores mean what they say: of all answers given with 70 %, are 70 % right?

Expected calibration error and reliability diagram (Guo et al., ICML 2017), over equal-width bins:

    ECE = sum_b  n_b / n  |accuracy_b - confidence_b|

For a detector an answer is a detection, right if it is a true positive by the VOC rule at IoU 0.5
(the confidence-only detection ECE of Küppers et al., CVPR-W 2020); detections on difficult boxes
do not count. For a classifier it is the predicted class with its probability.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .matching import IGNORED, TRUE, Matches


class Reliability(NamedTuple):
    """A reliability diagram of B bins.

    Attributes:
        edges (ndarray): shape (B + 1,), from 0 to 1; bins are open below and closed above.
        confidence, accuracy (ndarray): shape (B,), means in each bin, in [0, 1]; NaN in an empty
            one.
        count (ndarray): shape (B,).
        ece: expected calibration error, in [0, 1]; NaN without an answer.
    """

    edges: NDArray
    confidence: NDArray
    accuracy: NDArray
    count: NDArray  # type: ignore[assignment]
    ece: float

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus mean accuracy; above 0 the scores promise too much."""
        n = self.count.sum()
        if not n:
            return float("nan")
        filled = self.count > 0
        gap = (self.confidence - self.accuracy)[filled]
        return float((gap * self.count[filled]).sum() / n)


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> Reliability:
    """Compare confidence with accuracy.

    Args:
        confidence: shape (n,), in [0, 1]; NaNs are left out.
        correct: shape (n,), bool.
        bins: B.
    """
    confidence = np.asarray(confidence, dtype=np.float64).reshape(-1)
    correct = np.asarray(correct, dtype=bool).reshape(-1)
    known = ~np.isnan(confidence)
    confidence, correct = confidence[known], correct[known]
    edges = np.linspace(0.0, 1.0, bins + 1)
    of = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    count = np.bincount(of, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(of, confidence, minlength=bins) / count
        accuracy = np.bincount(of, correct, minlength=bins) / count
    gaps = np.abs(accuracy - mean)[count > 0]
    n = count.sum()
    ece = float((gaps * count[count > 0]).sum() / n) if n else float("nan")
    return Reliability(edges, mean, accuracy, count, ece)


def detection_reliability(matches: Matches, bins: int = 10) -> Reliability:
    """Reliability of a detector's scores, over all detections that were kept.

    Args:
        matches: of :func:`.match`.
        bins: B.
    """
    counted = matches.outcome != IGNORED
    return reliability(matches.scores[counted], matches.outcome[counted] == TRUE, bins)
