"""How far apart two domains are in feature space, and how far apart classes are.

Shape shorthand: n examples of both domains, N images that they are of, C features.

Each number comes with its level under chance: the same computation after the labels it depends on
(domains, or classes) were permuted, which is what features that know nothing of them would give.

Objects of one image share its background and style, and often their class: they are not
independent, images are. So folds hold whole images, domains are permuted between images, and the
classes of an image move together to an image with as many objects (whole-block exchangeability;
Winkler et al., NeuroImage 92, 2014). With one example per image both permute examples.

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
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from ..alignment.mmd import median_bandwidth, multi_kernel
from .features import FOLDS, Features

_FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # kernel bandwidths, as multiples of the median
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


def measure_separation(features: Features, seed: int = 0) -> dict[str, Measured]:
    """All numbers of the head of this module, by name; those of classes where they can be had.

    Args:
        features: of both domains, best equally many of each, of at least ``FOLDS`` images each.
        seed: of folds and permutations.
    """
    x, domains, images = standardized(features.x), features.domains, features.images
    rng = np.random.default_rng(seed)
    swapped = partial(permuted_domains, domains, images, rng)
    accuracy = with_chance(lambda d: domain_accuracy(x, d, images, seed), domains, swapped, _REFITS)
    found = {
        "domain_accuracy": accuracy,
        "proxy_a_distance": Measured(
            *(4 * value - 2 for value in accuracy.as_dict().values()),
        ),
    }
    kernel, distances = _kernel(features.x)
    found["mmd"] = with_chance(lambda d: mmd_of_kernel(kernel, d), domains, swapped)
    known = features.classes >= 0
    if len(set(features.classes[known].tolist())) > 1:
        classes, inside = features.classes[known], distances[np.ix_(known, known)]
        moved = partial(permuted_classes, classes, images[known], rng)
        if _has_silhouette(classes):
            found["silhouette"] = with_chance(lambda c: silhouette(inside, c), classes, moved)
        target = domains[known] == 1
        if 0 < target.sum() < len(target):
            of_target = classes[target]
            moved = partial(permuted_classes, of_target, images[known][target], rng)
            if _has_silhouette(of_target):
                found["silhouette_target"] = with_chance(
                    lambda c: silhouette(inside[np.ix_(target, target)], c), of_target, moved
                )
            found["nearest_class"] = with_chance(
                lambda c: nearest_class(inside[np.ix_(target, ~target)], c, classes[~target]),
                of_target,
                moved,
            )
    return found


def standardized(x: NDArray) -> NDArray:
    """Each feature with mean 0 and deviation 1; constant ones become 0. Shape (n, C)."""
    spread = x.std(axis=0)
    return (x - x.mean(axis=0)) / np.where(spread > 1e-12, spread, 1.0)


def with_chance(
    statistic: Callable[[NDArray], float],
    labels: NDArray,
    permuted: Callable[[], NDArray],
    permutations: int | None = None,
) -> Measured:
    """A statistic of labels, and its distribution over permutations of them.

    Args:
        statistic: of labels (n,).
        labels: shape (n,).
        permuted: draws a permutation of them.
        permutations: how many are drawn; default ``_PERMUTATIONS``.
    """
    null = [statistic(permuted()) for _ in range(permutations or _PERMUTATIONS)]
    low, high = np.percentile(null, [2.5, 97.5])
    return Measured(float(statistic(labels)), float(np.mean(null)), float(low), float(high))


def permuted_domains(domains: NDArray, images: NDArray, rng: np.random.Generator) -> NDArray:
    """Domains permuted between images, shape (n,): the examples of an image keep a common one.

    Args:
        domains: shape (n,), one domain for each image.
        images: shape (n,), number of the image of each example.
        rng: draws the permutation.
    """
    _, first, image = np.unique(images, return_index=True, return_inverse=True)
    return rng.permutation(domains[first])[image]


def permuted_classes(classes: NDArray, images: NDArray, rng: np.random.Generator) -> NDArray:
    """Classes permuted between images with equally many examples, shape (n,).

    The classes of an image move together and in their order. An image that no other equals in
    number keeps its own: with few, crowded images chance lies close to what is measured, and
    :func:`exchangeable` says how far that goes.

    Args:
        classes: shape (n,).
        images: shape (n,), number of the image of each example.
        rng: draws the permutation.
    """
    moved = classes.copy()
    for rows in rows_of_equal_images(images):
        moved[rows] = rng.permutation(classes[rows])
    return moved


def rows_of_equal_images(images: NDArray) -> list[NDArray]:
    """Rows of the images that have k examples, shape (images, k), for each k that occurs.

    Args:
        images: shape (n,), number of the image of each example.
    """
    by_image = np.argsort(images, kind="stable")
    _, first, count = np.unique(images[by_image], return_index=True, return_counts=True)
    return [by_image[first[count == k, None] + np.arange(k)] for k in np.unique(count)]


def exchangeable(images: NDArray) -> float:
    """Share of examples whose classes :func:`permuted_classes` can move to another image."""
    rows = [rows for rows in rows_of_equal_images(images) if len(rows) > 1]
    return sum(map(np.size, rows)) / len(images)


def domain_accuracy(x: NDArray, domains: NDArray, images: NDArray, seed: int = 0) -> float:
    """Cross-validated balanced accuracy of logistic regression at telling domains apart.

    Folds hold whole images and are stratified by the domains of images: with one example per image
    they are StratifiedKFold's, which StratifiedGroupKFold's would not be.

    Args:
        x (ndarray): shape (n, C), standardized.
        domains (ndarray): shape (n,), 0 or 1, one for each image.
        images (ndarray): shape (n,), number of the image of each example.
        seed: of the folds.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    _, first, image = np.unique(images, return_index=True, return_inverse=True)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    rows = [
        tuple(np.flatnonzero(np.isin(image, part)) for part in fold)
        for fold in folds.split(first, domains[first])
    ]
    # Images permuted between domains leave these with unequally many objects. The weights are 1
    # where domains have equally many examples.
    weights = {d: len(domains) / (2 * (domains == d).sum()) for d in (0, 1)}
    # C: more features than examples of a fold are usual here; little regularization overfits.
    model = LogisticRegression(C=0.01, max_iter=200, class_weight=weights)
    return float(cross_val_score(model, x, domains, cv=rows, scoring="balanced_accuracy").mean())


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
