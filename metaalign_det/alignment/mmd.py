"""MMD: a kernel distance between the feature distributions of two domains.

Shape shorthand: N, M examples of two domains, C features, U kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from ..loss_term import LossTerm
from .base import AlignmentMethod, Observer
from .precision import full_precision

ESTIMATORS = ("quadratic", "linear")


def median_bandwidth(squared_distances: Tensor) -> Tensor:
    """The median heuristic: sigma^2 is the median of the squared distances that are not 0.

    A constant of the step (no gradient). 1 where all points coincide, so that nothing is divided
    by 0.

    Args:
        squared_distances (Tensor): any shape.
    """
    positive = squared_distances.detach().flatten()
    positive = positive[positive > 0]
    return positive.median() if positive.numel() else squared_distances.new_ones(())


def multi_kernel(squared_distances: Tensor, bandwidth: Tensor, factors: Sequence[float]) -> Tensor:
    """``k = sum_u exp(-|x - y|^2 / (c_u sigma^2))``, elementwise.

    Args:
        squared_distances (Tensor): any shape.
        bandwidth (Tensor): sigma^2, scalar.
        factors: c_u, U of them.
    """
    scaled = squared_distances / bandwidth
    return torch.stack([torch.exp(-scaled / c) for c in factors]).sum(dim=0)


def mmd_quadratic(x: Tensor, y: Tensor, factors: Sequence[float], bandwidth: float = 0.0) -> Tensor:
    """``mean k(x, x') + mean k(y, y') - 2 mean k(x, y)`` over all pairs, i = j included.

    The biased V-statistic of the squared MMD (Gretton et al., JMLR 2012, eq. 5): never negative,
    0 for equal samples, any sizes.

    Args:
        x (Tensor): shape (N, C).
        y (Tensor): shape (M, C).
        factors: bandwidth multiples c_u.
        bandwidth: sigma^2; 0 = median heuristic over all pairs of the pooled sample.

    Returns:
        Tensor: scalar.
    """
    pooled = torch.cat([x, y])
    # Differences rather than |x|^2 + |y|^2 - 2xy: no cancellation between near neighbours.
    distances = (pooled.unsqueeze(1) - pooled.unsqueeze(0)).square().sum(dim=2)
    sigma2 = distances.new_tensor(bandwidth) if bandwidth else median_bandwidth(distances)
    kernel = multi_kernel(distances, sigma2, factors)
    n = len(x)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2 * kernel[:n, n:].mean()


def mmd_linear(x: Tensor, y: Tensor, factors: Sequence[float], bandwidth: float = 0.0) -> Tensor:
    """The linear-time estimate, over disjoint quadruples of consecutive examples.

    ``mean_i k(x_2i, x_2i+1) + k(y_2i, y_2i+1) - k(x_2i, y_2i+1) - k(x_2i+1, y_2i)`` (Gretton et
    al., JMLR 2012, lemma 14; the estimator of DAN, Long et al., ICML 2015, eq. 5). Unbiased, so
    it can be negative. Examples beyond the smaller even size are left out.

    Args:
        x (Tensor): shape (N, C).
        y (Tensor): shape (M, C).
        factors: bandwidth multiples c_u.
        bandwidth: sigma^2; 0 = median heuristic over the pairs that are used.

    Returns:
        Tensor: scalar.
    """
    pairs = min(len(x), len(y)) // 2
    x0, x1, y0, y1 = (t[i : 2 * pairs : 2] for t in (x, y) for i in (0, 1))
    distances = torch.stack(
        [(a - b).square().sum(dim=1) for a, b in ((x0, x1), (y0, y1), (x0, y1), (x1, y0))]
    )
    sigma2 = distances.new_tensor(bandwidth) if bandwidth else median_bandwidth(distances)
    kernel = multi_kernel(distances, sigma2, factors)
    return (kernel[0] + kernel[1] - kernel[2] - kernel[3]).mean()


class MMD(AlignmentMethod):
    """Multi-kernel maximum mean discrepancy between features, an explicit term.

    The squared distance between the domains' means in the space of a sum of Gaussian kernels
    (Long et al., Learning Transferable Features with Deep Adaptation Networks, ICML 2015, with
    equal kernel weights). More than two domains: the mean over all pairs.

    Args:
        in_features, num_classes: not used.
        num_domains: D.
        estimator: "quadratic" or "linear".
        bandwidth: sigma^2; 0 = median heuristic per batch.
        factors: multiples of it, one Gaussian each.
    """

    min_images = 2  # the distance between two single images says nothing about distributions

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        num_domains: int = 2,
        *,
        estimator: str = "quadratic",
        bandwidth: float = 0.0,
        factors: Sequence[float] = (0.25, 0.5, 1.0, 2.0, 4.0),
    ) -> None:
        super().__init__()
        if estimator not in ESTIMATORS:
            raise ValueError(
                f"unknown MMD estimator {estimator!r}; choose one of {', '.join(ESTIMATORS)}"
            )
        if bandwidth < 0 or not factors or min(factors) <= 0:
            raise ValueError(
                "MMD needs a bandwidth >= 0 and at least one positive factor, got "
                f"{bandwidth} and {list(factors)}"
            )
        self.num_domains = num_domains
        self.bandwidth = float(bandwidth)
        self.factors = tuple(factors)
        self.estimate = mmd_quadratic if estimator == "quadratic" else mmd_linear

    @classmethod
    def options(cls, node: Any) -> dict[str, Any]:
        return {
            "estimator": node.ESTIMATOR,
            "bandwidth": node.BANDWIDTH,
            "factors": node.BANDWIDTH_FACTORS,
        }

    def forward(
        self,
        features: Tensor,
        logits: Tensor,
        domains: Tensor,
        *,
        weight: float,
        reverse: bool,
        observe: Observer | None = None,
    ) -> dict[str, LossTerm]:
        features = full_precision(features)
        parts = [features[domains == d] for d in range(self.num_domains)]
        for d, part in enumerate(parts):
            if len(part) < 2:
                raise ValueError(
                    f"MMD compares distributions and needs at least 2 examples of each domain, "
                    f"but domain {d} has {len(part)} in this batch; use larger batches"
                )
        pairs = [
            self.estimate(x, y, self.factors, self.bandwidth) for x, y in combinations(parts, 2)
        ]
        loss = torch.stack(pairs).mean()
        return {"loss_mmd": LossTerm(loss, weight)}
