"""What an alignment objective hands to whoever trains it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class AlignmentTerm:
    """One loss that sees both domains, and how the two players treat it.

    An *adversarial* term is the loss L_k that discriminator k minimises. The features minimise
    ``-weight * L_k``; the parameters under ``owner`` minimise ``L_k`` itself, never scaled by the
    weight. An *explicit* term is a distance D_j that every parameter minimises, as
    ``weight * D_j``. The alignment objective of ``method.md`` is then
    ``A = - sum(weight_k * L_k) + sum(weight_j * D_j)``.

    Args:
        loss (Tensor): scalar, not scaled by ``weight`` and without any sign reversal of value.
        weight: lambda_k or mu_j, at least 0. A model hands an adversarial term of weight 0 over
            with detached features, so that its discriminator still learns.
        adversarial: whether the parameters under ``owner`` play against the rest.
        owner: prefix of the names of the discriminator's parameters; "" for an explicit term.
    """

    loss: Tensor
    weight: float = 1.0
    adversarial: bool = True
    owner: str = ""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise ValueError(f"the weight of an alignment term must be >= 0, got {self.weight}")
        if self.adversarial != bool(self.owner):
            raise ValueError(
                "an adversarial term names the discriminator that owns it, an explicit one none: "
                f"got adversarial={self.adversarial}, owner={self.owner!r}"
            )

    def under(self, prefix: str) -> AlignmentTerm:
        """The same term seen from a module that holds the method as attribute ``prefix``."""
        return replace(self, owner=f"{prefix}.{self.owner}") if self.owner else self


def joint_losses(terms: Mapping[str, AlignmentTerm]) -> dict[str, Tensor]:
    """The losses to *add* in ordinary joint training, where inputs went through gradient reversal.

    The reversal layer has already multiplied the features' gradient by ``-weight``, so that an
    adversarial loss enters as it is and an explicit one times its weight.
    """
    return {k: t.loss if t.adversarial else t.weight * t.loss for k, t in terms.items()}
