"""The interface that all alignment methods for classifiers share.

Shape shorthand: N examples of all domains together, C features, K classes, D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..loss_term import LossTerm
from .discriminators import VectorDiscriminator
from .domain_losses import domain_loss
from .gradient_reversal import grad_reverse
from .weighting import entropy_weights, mean_over_domains

#: Receives the discriminator's logits (N, 1 or D) and the domains (N,) of a pass, for logging.
Observer = Callable[[Tensor, Tensor], None]


def player_input(x: Tensor, weight: float, reverse: bool) -> Tensor:
    """What the features' player hands to a discriminator.

    Args:
        x (Tensor): features or predictions, any shape.
        weight: lambda >= 0; at 0 the discriminator learns and nothing follows it.
        reverse: multiply the gradient by ``-weight``, for losses that are simply added and
            differentiated once. False: leave the signs to whoever differentiates.
    """
    if weight == 0:
        return x.detach()
    return grad_reverse(x, weight) if reverse else x


class AlignmentMethod(nn.Module):
    """What aligned means: turns features and predictions of several domains into terms."""

    #: Attributes of this module that hold domain discriminators.
    discriminators: tuple[str, ...] = ()
    #: Images of each domain that a batch must hold at least.
    min_images: int = 1

    @classmethod
    def options(cls, node: Any) -> dict[str, Any]:
        """Keyword arguments of the class that a config gives.

        Args:
            node: has the keys of ``MODEL.ALIGN`` as attributes.
        """
        return {}

    def predict(self, features: Tensor, logits: Tensor) -> Tensor:
        """The model's class logits; a method that has a part in predicting overrides this.

        Args:
            features (Tensor): shape (N, C).
            logits (Tensor): shape (N, K), what the classifier says.

        Returns:
            Tensor: shape (N, K).
        """
        return logits

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
        """The terms of one batch.

        Args:
            features (Tensor): shape (N, C), all domains in one batch.
            logits (Tensor): shape (N, K), class logits as :meth:`predict` returns them.
            domains (Tensor): long, shape (N,), the domain of each example, 0 to D - 1. With two
                domains 0 is the source.
            weight: lambda (or mu of an explicit distance) after its schedule, >= 0.
            reverse: put gradient reversal times ``weight`` on all that comes from the features'
                player, entropy weights included. False puts none anywhere.
            observe: called once with the discriminator's logits, if there is a discriminator.

        Returns:
            dict: loss name -> term; owners are named relative to this module.
        """
        raise NotImplementedError


def check_terms(method: AlignmentMethod, terms: Mapping[str, LossTerm], features: Tensor) -> None:
    """Raise unless what a method returns keeps its contract.

    Joint training would accept most of what breaks it without a word, and align nothing.

    Raises:
        TypeError, ValueError: names the method and its loss.
    """
    name = f"{type(method).__name__}.forward"
    if not isinstance(terms, Mapping):
        raise TypeError(f"{name} returned a {type(terms).__name__}, no dict of LossTerms by name")
    trained = torch.is_grad_enabled() and features.requires_grad
    for key, term in terms.items():
        if not isinstance(term, LossTerm):
            raise TypeError(
                f"{name}: {key!r} is a {type(term).__name__}; return LossTerm(loss, weight), or "
                "the weight of the config would be lost"
            )
        if not str(key).startswith("loss_"):
            raise ValueError(
                f"{name}: {key!r} is no name of a loss: it must begin with 'loss_', by which logs "
                "and reports know it"
            )
        if term.loss.dim() != 0:
            raise ValueError(
                f"{name}: {key!r} is not a scalar: its shape is {tuple(term.loss.shape)}"
            )
        if term.adversarial and term.owner.partition(".")[0] not in method.discriminators:
            raise ValueError(
                f"{name}: {key!r} is owned by {term.owner!r}, which is none of the method's "
                f"discriminators: {', '.join(method.discriminators) or 'it has none'}"
            )
        if trained and term.weight > 0 and not term.loss.requires_grad:
            raise ValueError(f"{name}: {key!r} depends on no parameter: nothing would be aligned")


class AdversarialMethod(AlignmentMethod):
    """A single discriminator that tells the domains apart by cross-entropy.

    ``L = 1/D sum_d sum_{i in d} w_i (-log D_d(x_i))``, with weights that sum to 1 within each
    domain: equal ones, or those of :func:`.weighting.entropy_weights`. Subclasses say what x is.

    Args:
        discriminator: maps (N, X) to logits (N, 1) for two domains or (N, D).
        entropy: weight examples by the entropy of their prediction.
        entropy_offset: see :func:`.weighting.entropy_weights`.
        stop_gradient: see :func:`.weighting.entropy_weights`.
    """

    discriminators = ("discriminator",)
    loss_name = ""

    def __init__(
        self,
        discriminator: VectorDiscriminator,
        *,
        entropy: bool = False,
        entropy_offset: float = 0.0,
        stop_gradient: bool = True,
    ) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.entropy = entropy
        self.entropy_offset = entropy_offset
        self.stop_gradient = stop_gradient

    @classmethod
    def options(cls, node: Any) -> dict[str, Any]:
        return {
            "hidden": (node.HIDDEN, node.HIDDEN),
            "dropout": node.DROPOUT,
            "stop_gradient": node.STOP_GRADIENT,
        }

    def discriminator_input(self, features: Tensor, logits: Tensor) -> Tensor:
        """x (Tensor): shape (N, X), from features (N, C) and class logits (N, K)."""
        raise NotImplementedError

    def discriminate(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Domain logits of x, and what to add to the loss (None: nothing)."""
        return self.discriminator(x), None

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
        features = player_input(features, weight, reverse)
        logits = player_input(logits, weight, reverse)
        domain_logits, extra = self.discriminate(self.discriminator_input(features, logits))
        if observe is not None:
            observe(domain_logits.detach(), domains)
        weights = None
        if self.entropy:
            weights = entropy_weights(
                logits, domains, offset=self.entropy_offset, stop_gradient=self.stop_gradient
            )
        losses = domain_loss("bce", domain_logits, domains, reduction="none")
        loss = mean_over_domains(losses, domains, weights)
        if extra is not None:
            loss = loss + extra
        return {self.loss_name: LossTerm(loss, weight, owner="discriminator")}
