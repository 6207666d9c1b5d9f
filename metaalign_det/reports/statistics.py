"""How sure a number is: means, intervals, paired comparisons and resampling.

Runs that differ only in their seed are repetitions. Two methods are compared seed by seed, because
the same seed shares its data order and its initial weights, which takes much of the spread out of
the difference.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Interval(NamedTuple):
    """A confidence interval; both ends NaN where the data do not give one."""

    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether it lies on one side of 0; False for one that is not known."""
        return self.low > 0 or self.high < 0


UNKNOWN = Interval(math.nan, math.nan)


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); NaNs are left out.

    Returns:
        tuple: both NaN without a value, the second NaN for a single one.
    """
    present = _present(values)
    mean = statistics.fmean(present) if present else math.nan
    return mean, statistics.stdev(present) if len(present) > 1 else math.nan


def t_interval(values: Sequence[Real], level: float = 0.95) -> Interval:
    """Student's interval of the mean, mean ± t_{n-1} sd / sqrt(n); NaNs are left out.

    Args:
        values: n independent repetitions.
        level: confidence, in (0, 1).

    Returns:
        Interval: unknown for fewer than two values, and where all are the same: scores of few
            images fall on a grid, and their spread is not 0 because two fell on one point.
    """
    present = _present(values)
    if len(present) < 2 or max(present) - min(present) <= 1e-9 * max(map(abs, present)):
        return UNKNOWN
    from scipy.special import stdtrit  # not scipy.stats, which takes a second to import

    mean, sd = mean_and_sd(present)
    quantile = float(stdtrit(len(present) - 1, (1 + level) / 2))
    half = quantile * sd / math.sqrt(len(present))
    return Interval(mean - half, mean + half)


def sign_test(differences: Sequence[Real]) -> float:
    """Two-sided p-value of as lopsided a split of signs by coin tosses; zeros are left out.

    It assumes nothing about the size of the differences, and cannot fall below 2^(1-n): with
    five pairs, not below 0.0625.

    Returns:
        float: NaN without a difference that is not zero.
    """
    signs = [d > 0 for d in _present(differences) if d != 0]
    if not signs:
        return math.nan
    from scipy.special import bdtr  # distribution function of the binomial

    fewer = min(sum(signs), len(signs) - sum(signs))
    return min(1.0, 2.0 * float(bdtr(fewer, len(signs), 0.5)))


@dataclass(frozen=True)
class PairedDifference:
    """Second minus first, over what both have.

    Args:
        values: the differences by pair (a seed).
        mean, sd: of them; the second NaN for a single one.
        interval: Student's, of the mean; unknown for a single one.
        wins, losses, ties: how many are above, below and at zero.
        p_sign: of :func:`sign_test`.
    """

    values: Mapping[Hashable, float]
    mean: float
    sd: float
    interval: Interval
    wins: int
    losses: int
    ties: int
    p_sign: float


def paired_difference(
    first: Mapping[Any, float], second: Mapping[Any, float], level: float = 0.95
) -> PairedDifference:
    """Compare two methods pair by pair.

    Args:
        first, second: pair (a seed) -> value. Pairs that only one has, or where one is NaN, are
            left out.
        level: confidence of the interval.
    """
    values = {
        key: float(second[key]) - float(first[key])
        for key in first
        if key in second and not math.isnan(float(second[key]) - float(first[key]))
    }
    differences = list(values.values())
    return PairedDifference(
        values,
        *mean_and_sd(differences),
        interval=t_interval(differences, level),
        wins=sum(d > 0 for d in differences),
        losses=sum(d < 0 for d in differences),
        ties=sum(d == 0 for d in differences),
        p_sign=sign_test(differences),
    )


def percentile_interval(samples: ArrayLike, level: float = 0.95) -> Interval:
    """What the middle ``level`` of resampled statistics spans; NaNs are left out.

    Args:
        samples: shape (resamples,).
        level: confidence, in (0, 1).
    """
    samples = np.asarray(samples, dtype=np.float64)
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return UNKNOWN
    return Interval(*np.quantile(samples, [(1 - level) / 2, (1 + level) / 2]).tolist())


def bootstrap_interval(
    statistic: Callable[[NDArray], NDArray],
    examples: int,
    random: np.random.Generator,
    *,
    level: float = 0.95,
    resamples: int = 2000,
) -> Interval:
    """Percentile bootstrap (Efron 1979) of a statistic of independent examples.

    Args:
        statistic: of example numbers of shape (R, examples), R values; one row is one resample.
        examples: n, which are drawn from with replacement (images).
        random: where the resamples come from.
        level: confidence, in (0, 1).
        resamples: R.

    Returns:
        Interval: unknown for fewer than two examples.
    """
    if examples < 2:
        return UNKNOWN
    rows = random.integers(examples, size=(resamples, examples))
    return percentile_interval(statistic(rows), level)


def image_weights(images: int, resamples: int = 300, seed: int = 0) -> NDArray:
    """How often each image is drawn in each resample of a test set with replacement.

    Returns:
        ndarray: shape (resamples, images), counts; every row sums to ``images``.
    """
    random = np.random.default_rng(seed)
    return random.multinomial(images, np.full(images, 1 / max(images, 1)), size=resamples)


def _present(values: Sequence[Real]) -> list[float]:
    return [float(v) for v in values if not math.isnan(v)]
