"""One loss with its weight and its owner: what objectives are sums of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class LossTerm:
    """A scalar loss, and how the two players of adversarial training treat it.

    *Adversarial* (it has an ``owner``): the loss L_k that discriminator k minimizes. The parameters
    under ``owner`` descend L_k itself, never scaled by the weight lambda_k; everything else
    descends ``-lambda_k L_k``. *Explicit* (no owner): every parameter descends ``weight * loss``;
    a supervised loss, or a distance D_j with mu_j. With both kinds the alignment objective is
    ``A = -sum_k lambda_k L_k + sum_j mu_j D_j``.

    A plain scalar Tensor stands for an explicit term of weight 1 in an objective of
    :mod:`metaalign_det.coordination`.

    Args:
        loss (Tensor): scalar, neither scaled by ``weight`` nor reversed.
        weight: lambda_k or mu_j, >= 0. A model hands an adversarial term of weight 0 over with
            detached features, so that its discriminator still learns.
        owner: prefix of the names of the parameters of the discriminator that owns the loss;
            "" = explicit.
    """

    loss: Tensor
    weight: float = 1.0
    owner: str = ""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"the weight of a loss term must be >= 0, got {self.weight}")

    @classmethod
    def of(cls, loss: Tensor | LossTerm) -> LossTerm:
        """The term itself, or the explicit one of weight 1 that a Tensor stands for."""
        return loss if isinstance(loss, LossTerm) else cls(loss)

    @property
    def adversarial(self) -> bool:
        """Whether a discriminator owns the loss."""
        return bool(self.owner)

    def under(self, prefix: str) -> LossTerm:
        """The same term seen from a module that holds the discriminator's as ``prefix``."""
        return replace(self, owner=f"{prefix}.{self.owner}") if self.owner else self

    def scaled(self, factor: float | Tensor) -> LossTerm:
        """The same term with its loss times ``factor`` (a share of a batch)."""
        return replace(self, loss=factor * self.loss)


def joint_losses(terms: Mapping[str, LossTerm]) -> dict[str, Tensor]:
    """The losses to *add* in ordinary joint training, where inputs went through gradient reversal.

    The reversal layer has already multiplied the features' gradient by ``-weight``, so that an
    adversarial loss enters as it is and an explicit one times its weight.
    """
    return {k: t.loss if t.adversarial else t.weight * t.loss for k, t in terms.items()}
