"""CDAN: a discriminator on the multilinear map of features and predictions.

Long et al., Conditional Adversarial Domain Adaptation, NeurIPS 2018. Shape shorthand: N examples,
C features, K classes, D domains, d randomised dimensions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .base import AdversarialMethod
from .discriminators import VectorDiscriminator


def multilinear_map(features: Tensor, probabilities: Tensor) -> Tensor:
    """The flattened outer product ``g (x) f``: K blocks, the k-th being ``g_k f``.

    A one-hot prediction of class k copies f into block k and leaves the others 0.

    Args:
        features (Tensor): f, shape (N, C).
        probabilities (Tensor): g, shape (N, K).

    Returns:
        Tensor: shape (N, K * C).
    """
    return (probabilities.unsqueeze(2) * features.unsqueeze(1)).flatten(1)


class RandomizedMap(nn.Module):
    """``(f R_f) * (g R_g) / sqrt(d)`` with fixed standard normal matrices (eq. 6 there).

    Its inner products are unbiased estimates of those of the multilinear map. The matrices are
    buffers: checkpoints hold them, because a discriminator means nothing without its own.

    Args:
        in_features: C.
        num_classes: K.
        dim: d.
    """

    def __init__(self, in_features: int, num_classes: int, dim: int) -> None:
        super().__init__()
        if dim < 1:
            raise ValueError(f"the randomised map needs a positive dimension, got {dim}")
        self.dim = dim
        self.register_buffer("features_matrix", torch.randn(in_features, dim))
        self.register_buffer("classes_matrix", torch.randn(num_classes, dim))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """
        Args:
            features (Tensor): shape (N, C).
            probabilities (Tensor): shape (N, K).

        Returns:
            Tensor: shape (N, d).
        """
        product = (features @ self.features_matrix) * (probabilities @ self.classes_matrix)
        return product / self.dim**0.5


class CDAN(AdversarialMethod):
    """Conditional adversarial alignment (CDAN), with entropy weights CDAN+E.

    Cross-entropy of a discriminator on ``T(f, g)``: the multilinear map, or its randomised form
    when C * K > ``randomized_above`` (eq. 7 there, threshold 4096).

    Note:
        The authors' code takes g in the map as a constant, though not in the entropy; their
        equations do not say so. ``stop_gradient=False`` lets the gradient through.

    Args:
        in_features: C.
        num_classes: K.
        num_domains: D.
        hidden: widths of the discriminator.
        dropout: probability in the discriminator.
        entropy: CDAN+E, weights ``1 + exp(-H(g))`` normalised per domain.
        randomized_above: largest C * K for which the map is computed in full.
        randomized_dim: d of the randomised map.
        stop_gradient: as published: no gradient through g in the map, nor through the sum that
            normalises the weights.
    """

    loss_name = "loss_cdan"

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        num_domains: int = 2,
        *,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        entropy: bool = False,
        randomized_above: int = 4096,
        randomized_dim: int = 1024,
        stop_gradient: bool = True,
    ) -> None:
        randomized = in_features * num_classes > randomized_above
        width = randomized_dim if randomized else in_features * num_classes
        super().__init__(
            VectorDiscriminator(width, hidden, dropout, num_domains),
            entropy=entropy,
            entropy_offset=1.0,
            stop_gradient=stop_gradient,
        )
        self.randomized_map = (
            RandomizedMap(in_features, num_classes, randomized_dim) if randomized else None
        )

    @classmethod
    def options(cls, node: Any) -> dict[str, Any]:
        return {
            **super().options(node),
            "entropy": node.ENTROPY,
            "randomized_above": node.RANDOMIZED_ABOVE,
            "randomized_dim": node.RANDOMIZED_DIM,
        }

    def discriminator_input(self, features: Tensor, logits: Tensor) -> Tensor:
        g = F.softmax(logits.detach() if self.stop_gradient else logits, dim=1)
        combine = self.randomized_map or multilinear_map
        return combine(features, g)
