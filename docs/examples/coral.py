"""A new alignment method: CORAL, a distance between the covariances of the domains' features.

Reference: Sun and Saenko, Deep CORAL, ECCV workshops 2016. CONTRIBUTING.md walks through this
file; in the package it would be ``metaalign_det/alignment/coral.py``.

Shape shorthand: N examples of all domains together, C features, K classes, D domains.
"""

from __future__ import annotations

from itertools import combinations

import torch
from torch import Tensor

from metaalign_det.alignment.base import AlignmentMethod, Observer
from metaalign_det.alignment.precision import full_precision
from metaalign_det.alignment.registry import ALIGNMENT_METHODS
from metaalign_det.loss_term import LossTerm


class CORAL(AlignmentMethod):
    """``|cov(x) - cov(y)|_F^2 / (4 C^2)``, the mean over all pairs of domains; an explicit term.

    Args:
        in_features: C.
        num_classes: K, not used.
        num_domains: D.
    """

    min_images = 2  # one example has no covariance

    def __init__(self, in_features: int, num_classes: int, num_domains: int = 2) -> None:
        super().__init__()
        self.num_domains = num_domains

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
        x = full_precision(features)
        covariances = [torch.cov(x[domains == d].T) for d in range(self.num_domains)]
        distances = [(a - b).square().sum() for a, b in combinations(covariances, 2)]
        loss = torch.stack(distances).mean() / (4 * x.shape[1] ** 2)
        return {"loss_coral": LossTerm(loss, weight)}


ALIGNMENT_METHODS["coral"] = CORAL  # in the package: a line in alignment/registry.py
