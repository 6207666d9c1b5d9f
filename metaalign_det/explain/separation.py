"""How far apart two domains are in feature space, and how far apart classes are.

Shape shorthand: n examples of both domains, C features.

Each number comes with its level under chance: the same computation after the labels it depends on
(domains, or classes) were permuted, which is what features that know nothing of them would give.

    domain accuracy    5-fold cross-validated balanced accuracy of a linear classifier on
                       standardized features
    proxy A-distance   2 (1 - 2 error) of that classifier; Ben-David et al., NIPS 2006, in the form
                       of Ganin et al., JMLR 2016, section 5.1.3: the same fact on another scale
    MMD                squared, with the Gaussian kernels of alignment.mmd; Gretton et al. 2012
    silhouette         of classes, mean over examples; Rousseeuw 1987
                       (here and below, Euclidean distances of features as the network uses them)
    nearest class      share of target examples whose nearest source example is of their class:
                       whether alignment brought the *right* classes together
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..alignment.mmd import median_bandwidth, multi_kernel
from .features import Features

_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # kernel bandwidths, as multiples of the median
_FOLDS = 5
_PERMUTATIONS = 200
_REFITS = 20  # permutations where each one is a cross-validation


@dataclass(frozen=True)
class Measured:
    """A number and where chance would put it.

    Args:
        value: as measured.
        chance: mean over permutations.
        chance_low, chance_high: their 2.5th and 97.5th percentile.
    """

    value: float
    chance: float
    chance_low: float
    chance_high: float

    def as_dict(self) -> dict[str, float]:
        return dict(self.__dict__)

    def beyond_chance(self) -> bool:
        """Whether the value is outside the 95 % range of chance."""
        return not self.chance_low <= self.value <= self.chance_high


def measure_separation(features: Features, seed: int = 0) -> dict[str, Measured]:
    """All numbers of the head of this module, by name; those of classes where they can be had.

    Args:
        features: of both domains, best equally many of each.
        seed: of folds and permutations.
    """
    x, domains = standardized(features.x), features.domains  # for the classifier
    rng = np.random.default_rng(seed)
    accuracy = with_chance(lambda d: domain_accuracy(x, d, seed), domains, rng, _REFITS)
    found = {
        "domain_accuracy": accuracy,
        "proxy_a_distance": Measured(
            *(4 * value - 2 for value in accuracy.as_dict().values()),
        ),
    }
    kernel, distances = _kernel(features.x)
    found["mmd"] = with_chance(lambda d: mmd_of_kernel(kernel, d), domains, rng)
    known = features.classes >= 0
    if len(set(features.classes[known].tolist())) > 1:
        classes, inside = features.classes[known], distances[np.ix_(known, known)]
        if _has_silhouette(classes):
            found["silhouette"] = with_chance(lambda c: silhouette(inside, c), classes, rng)
        target = domains[known] == 1
        if 0 < target.sum() < len(target):
            if _has_silhouette(classes[target]):
                found["silhouette_target"] = with_chance(
                    lambda c: silhouette(inside[np.ix_(target, target)], c), classes[target], rng
                )
            found["nearest_class"] = with_chance(
                lambda c: nearest_class(inside[np.ix_(target, ~target)], c, classes[~target]),
                classes[target],
                rng,
            )
    return found


def standardized(x: NDArray) -> NDArray:
    """Each feature with mean 0 and deviation 1; constant ones become 0. Shape (n, C)."""
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)


def with_chance(
    statistic: Callable[[NDArray], float],
    labels: NDArray,
    rng: np.random.Generator,
    permutations: int = _PERMUTATIONS,
) -> Measured:
    """A statistic of labels, and its distribution over permutations of them."""
    null = [statistic(rng.permutation(labels)) for _ in range(permutations)]
    low, high = np.percentile(null, [2.5, 97.5])
    return Measured(float(statistic(labels)), float(np.mean(null)), float(low), float(high))


def domain_accuracy(x: NDArray, domains: NDArray, seed: int = 0) -> float:
    """Cross-validated balanced accuracy of logistic regression at telling domains apart.

    Args:
        x (ndarray): shape (n, C), standardized.
        domains (ndarray): shape (n,), 0 or 1.
        seed: of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    # C: more features than examples of a fold are usual here; little regularization overfits.
    model = LogisticRegression(C=0.01, max_iter=200)
    return float(cross_val_score(model, x, domains, cv=folds, scoring="balanced_accuracy").mean())


def mmd_of_kernel(kernel: NDArray, domains: NDArray) -> float:
    """Squared MMD, the biased estimate, from a kernel matrix (n, n) and domains (n,)."""
    sign = np.where(domains == 0, 1 / (domains == 0).sum(), -1 / (domains == 1).sum())
    return float(sign @ kernel @ sign)


def silhouette(distances: NDArray, classes: NDArray) -> float:
    """Mean silhouette from distances (n, n); NaN with one class or every example alone."""
    from sklearn.metrics import silhouette_score

    if not _has_silhouette(classes):
        return float("nan")
    return float(silhouette_score(distances, classes, metric="precomputed"))


def _has_silhouette(classes: NDArray) -> bool:
    return 2 <= len(set(classes.tolist())) < len(classes)


def nearest_class(distances: NDArray, of_target: NDArray, of_source: NDArray) -> float:
    """Share of target examples (rows) whose nearest source example (column) has their class."""
    return float((of_source[distances.argmin(axis=1)] == of_target).mean())


def _kernel(x: NDArray) -> tuple[NDArray, NDArray]:
    """Kernel matrix and distances, both (n, n)."""
    points = torch.from_numpy(x)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    squared = distances.square()
    kernel = multi_kernel(squared, median_bandwidth(squared), _FACTORS)
    return kernel.numpy(), distances.numpy()
