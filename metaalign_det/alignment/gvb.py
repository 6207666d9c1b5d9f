"""GVB: gradually vanishing bridges on generator and discriminator.

Cui et al., Gradually Vanishing Bridge for Adversarial Domain Adaptation, CVPR 2020. Shape
shorthand: N examples, C features, K classes, D domains, H width of the discriminator.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..loss_term import LossTerm
from .base import Observer
from .dann import DANNPE
from .discriminators import VectorDiscriminator
from .linear import kaiming_linear
from .precision import full_precision


class BridgedDiscriminator(VectorDiscriminator):
    """A discriminator minus its bridge: both are linear in its last hidden layer h (N, H).

    Args:
        in_features, hidden, dropout, num_domains: see :class:`VectorDiscriminator`.
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], dropout: float, num_domains: int = 2
    ) -> None:
        super().__init__(in_features, hidden, dropout, num_domains)
        self.bridge = kaiming_linear(hidden[-1], self.num_outputs)

    def bridged(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x (Tensor): shape (N, C).

        Returns:
            tuple: logits (Tensor): ``D(x) - gamma_d(x)``, shape (N, num_outputs); bridge
            (Tensor): gamma_d, of the same shape.
        """
        h = self.mlp[:-1](x)
        bridge = self.bridge(h)
        return self.mlp[-1](h) - bridge, bridge

    def forward(self, x: Tensor) -> Tensor:
        return self.bridged(x)[0]


class GVB(DANNPE):
    """GVB-GD: DANNPE in which generator and discriminator each have a bridge.

    The generator bridge ``gamma_g`` is linear in the features and is subtracted from the class
    logits, ``logits = C(f) - gamma_g(f)``, everywhere: task loss, alignment and prediction. It
    stands for what is domain-specific in them, and ``mean |gamma_g|`` is minimised so that it
    vanishes. The discriminator bridge ``gamma_d`` is subtracted from the discriminator's logits:

        adversarial   L = DANNPE loss of (D - gamma_d)(p) + w_d mean |gamma_d|
        explicit      E = mean |gamma_g|, weight w_g

    With both bridges zero it is DANNPE.

    Note:
        As in the authors' code, ``mean |gamma_d|`` is part of what the discriminator minimises,
        so that the features play against it through the reversal too.

    Args:
        in_features: C.
        num_classes: K.
        num_domains: D.
        hidden: widths of the discriminator.
        dropout: probability in the discriminator.
        bridge_generator: w_g >= 0, not scaled by lambda.
        bridge_discriminator: w_d >= 0.
        entropy_offset, stop_gradient: see :class:`DANNPE`.
    """

    loss_name = "loss_gvb"
    discriminator_class = BridgedDiscriminator

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        num_domains: int = 2,
        *,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        bridge_generator: float = 1.0,
        bridge_discriminator: float = 1.0,
        entropy_offset: float = 0.0,
        stop_gradient: bool = True,
    ) -> None:
        if min(bridge_generator, bridge_discriminator) < 0:
            raise ValueError(
                "the weights of the bridge penalties must be >= 0, got "
                f"{bridge_generator} (generator) and {bridge_discriminator} (discriminator)"
            )
        super().__init__(
            in_features,
            num_classes,
            num_domains,
            hidden=hidden,
            dropout=dropout,
            entropy_offset=entropy_offset,
            stop_gradient=stop_gradient,
        )
        self.bridge = kaiming_linear(in_features, num_classes)
        self.bridge_generator = bridge_generator
        self.bridge_discriminator = bridge_discriminator

    @classmethod
    def options(cls, node: Any) -> dict[str, Any]:
        return {
            **super().options(node),
            "bridge_generator": node.BRIDGE_GENERATOR,
            "bridge_discriminator": node.BRIDGE_DISCRIMINATOR,
        }

    def predict(self, features: Tensor, logits: Tensor) -> Tensor:
        return logits - self.bridge(features)

    def discriminate(self, x: Tensor) -> tuple[Tensor, Tensor]:
        domain_logits, bridge = self.discriminator.bridged(x)
        return domain_logits, self.bridge_discriminator * full_precision(bridge).abs().mean()

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
        terms = super().forward(
            features, logits, domains, weight=weight, reverse=reverse, observe=observe
        )
        vanish = full_precision(self.bridge(features)).abs().mean()
        terms["loss_gvb_bridge"] = LossTerm(vanish, self.bridge_generator)
        return terms
