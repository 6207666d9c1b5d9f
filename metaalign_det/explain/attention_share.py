"""Does an objective look at the foreground? Attention inside ground-truth boxes as a number.

Shape shorthand: N images, (H, W) of an image.

For an attention map M >= 0 and the union of an image's ground-truth boxes B,

    share  = sum of M inside B / sum of M        area = |B| / (H W)
    focus  = mean over images of share / mean over images of area

Focus is 1 where attention ignores objects, above 1 where it prefers them and below 1 where it
avoids them. Objects are not placed at random, so a second reference comes with it: the focus of
the same maps on the boxes of *other* images. Attention to the middle of pictures raises both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..reports.statistics import bootstrap_interval

_GRID = 32  # cells a side of what is kept of every image: maps of any sizes become comparable


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def box_mask(boxes: NDArray, height: int, width: int) -> NDArray:
    """The union of boxes as a picture.

    Args:
        boxes (ndarray): shape (n, 4), x0 y0 x1 y1 in pixels.
        height, width: pixels.

    Returns:
        ndarray: shape (H, W), bool; a pixel is inside if its center is.
    """
    mask = np.zeros((height, width), dtype=bool)
    for x0, y0, x1, y1 in np.round(boxes).astype(int):
        mask[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)] = True
    return mask


class AttentionMeter:
    """Collects maps of one objective over a data set and sums them up.

    A map that is 0 everywhere has no share: the image is counted as ``empty`` and left out, as are
    images without boxes.
    """

    def __init__(self) -> None:
        self.shares: dict[int, float] = {}  # image number -> share
        self.areas: dict[int, float] = {}
        self.empty = 0
        self._maps: dict[int, NDArray] = {}  # of sum 1, on the common grid
        self._masks: dict[int, NDArray] = {}

    def add(self, image: int, attention: NDArray, mask: NDArray | None) -> float:
        """Add the map of one image.

        Args:
            image: its number.
            attention (ndarray): shape (H, W), at least 0.
            mask (ndarray): shape (H, W), bool, inside boxes; None where boxes are unknown.

        Returns:
            float: the share inside, NaN if there is none.
        """
        total = float(attention.sum())
        if not total > 0:
            self.empty += 1
            return float("nan")
        small = _resample(attention)
        self._maps[image] = small / small.sum()
        if mask is None or not mask.any():
            return float("nan")
        self.shares[image] = float(attention[mask].sum()) / total
        self.areas[image] = float(mask.mean())
        self._masks[image] = _resample(mask)
        return self.shares[image]

    def summary(self, rng: np.random.Generator) -> dict[str, object]:
        """Numbers over all images that had both boxes and attention; {} if none had.

        Returns:
            dict: ``images`` and ``empty`` (counts), mean ``share`` and ``area``, ``focus`` (an
            :class:`Estimate`, bootstrap over images) and ``focus_other_boxes``.
        """
        if not self.shares:
            return {}
        shares, areas = (np.array(list(x.values())) for x in (self.shares, self.areas))
        return {
            "images": len(shares),
            "empty": self.empty,
            "share": float(shares.mean()),
            "area": float(areas.mean()),
            "focus": estimate(
                lambda rows: shares[rows].mean(1) / areas[rows].mean(1), len(shares), rng
            ),
            "focus_other_boxes": self._focus_other_boxes(),
        }

    def overlap(self, other: AttentionMeter) -> tuple[float, float]:
        """How far two objectives look at the same places: sum of min(M, M'), both of sum 1.

        Returns:
            tuple: mean over images (1 = the same places), and the same with the other's map of
            the next image: the level of attention that does not depend on the image.
        """
        common = sorted(self._maps.keys() & other._maps.keys())
        if len(common) < 2:
            return float("nan"), float("nan")
        mine, theirs = (np.stack([m._maps[i] for i in common]) for m in (self, other))
        own = np.minimum(mine, theirs).sum(axis=(1, 2))
        shifted = np.minimum(mine, np.roll(theirs, 1, axis=0)).sum(axis=(1, 2))
        return float(own.mean()), float(shifted.mean())

    def _focus_other_boxes(self) -> float:
        """Focus on the boxes of other images, each map against each other image's boxes."""
        if len(self._masks) < 2:
            return float("nan")
        maps = np.stack([self._maps[i].ravel() for i in self._masks])
        masks = np.stack([m.ravel() for m in self._masks.values()])
        inside = maps @ masks.T
        others = inside.sum() - np.trace(inside)
        return float(others / (len(maps) - 1) / masks.mean(axis=1).sum())


def focus_difference(
    a: AttentionMeter, b: AttentionMeter, rng: np.random.Generator
) -> Estimate | None:
    """Focus of b minus that of a, over the images that both have, resampled together.

    None where they have no image in common.
    """
    common = sorted(a.shares.keys() & b.shares.keys())
    if not common:
        return None
    shares, areas = (
        [np.array([x[i] for i in common]) for x in pair]
        for pair in ((a.shares, b.shares), (a.areas, b.areas))
    )

    def statistic(rows: NDArray) -> NDArray:
        of_a, of_b = (s[rows].mean(1) / area[rows].mean(1) for s, area in zip(shares, areas))
        return of_b - of_a

    return estimate(statistic, len(common), rng)


def estimate(
    statistic: Callable[[NDArray], NDArray], count: int, rng: np.random.Generator
) -> Estimate:
    """A statistic of all examples with its bootstrap interval; see :func:`bootstrap_interval`."""
    value = float(statistic(np.arange(count)[None])[0])
    return Estimate(value, *bootstrap_interval(statistic, count, rng))


def _resample(m: NDArray) -> NDArray:
    """An (H, W) map on a fixed grid, by area."""
    return cv2.resize(m.astype(np.float32), (_GRID, _GRID), interpolation=cv2.INTER_AREA)
