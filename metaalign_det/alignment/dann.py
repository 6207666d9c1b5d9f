"""DANN: a discriminator on features; DANNPE: on predictions, weighted by their entropy.

Shape shorthand: N examples, C features, K classes, D domains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .base import AdversarialMethod
from .discriminators import VectorDiscriminator


class DANN(AdversarialMethod):
    """Domain-adversarial training (Ganin et al., JMLR 2016, eq. 9-10).

    ``L = 1/2 mean_s(-log(1 - D(f))) + 1/2 mean_t(-log D(f))``: binary cross-entropy of a
    discriminator D on features f, the target being domain 1. More than two domains: D-way
    cross-entropy, averaged over the domains.

    Args:
        in_features: C.
        num_classes: K, not used.
        num_domains: D.
        hidden: widths of the discriminator.
        dropout: probability in the discriminator.
        entropy: weight examples by exp(-H) of their prediction.
        stop_gradient: see :func:`.weighting.entropy_weights`.
    """

    loss_name = "loss_dann"

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        num_domains: int = 2,
        *,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        entropy: bool = False,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__(
            VectorDiscriminator(in_features, hidden, dropout, num_domains),
            entropy=entropy,
            stop_gradient=stop_gradient,
        )

    @classmethod
    def options(cls, node: Any) -> dict[str, Any]:
        return {**super().options(node), "entropy": node.ENTROPY}

    def discriminator_input(self, features: Tensor, logits: Tensor) -> Tensor:
        return features


class DANNPE(AdversarialMethod):
    """DANN on Predictions with Entropy weights (Wei et al., MetaAlign, CVPR 2021, section 4.1).

    The discriminator sees the class probabilities ``p = softmax(logits)``, and example i weighs
    ``w_i = exp(-H(p_i))``, normalised to sum 1 per domain. The gradient through the entropy is
    the features' player's, reversed like the rest.

    Args:
        in_features: C, not used.
        num_classes: K.
        num_domains: D.
        hidden: widths of the discriminator.
        dropout: probability in the discriminator.
        entropy_offset: 1 gives CDAN's weights, ``1 + exp(-H)``.
        stop_gradient: see :func:`.weighting.entropy_weights`.
    """

    loss_name = "loss_dannpe"
    discriminator_class: type[VectorDiscriminator] = VectorDiscriminator

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        num_domains: int = 2,
        *,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        entropy_offset: float = 0.0,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__(
            self.discriminator_class(num_classes, hidden, dropout, num_domains),
            entropy=True,
            entropy_offset=entropy_offset,
            stop_gradient=stop_gradient,
        )

    def discriminator_input(self, features: Tensor, logits: Tensor) -> Tensor:
        return F.softmax(logits, dim=1)
