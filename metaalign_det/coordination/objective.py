"""Objectives: named losses as pure functions of named parameters, and their gradients.

Two players share an objective. *Adversarial* losses L_k are minimised by the discriminator that
owns them and maximised, with weight lambda_k, by everything else. No gradient reversal layer is
involved: reversal multiplies inside ``backward``, and differentiating through that gives a wrong
Hessian. Signs are put on the finished gradients instead, which is linear and right at any order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from .ops.convolution import FastSecondDerivatives
from .stages import is_under

Params = Mapping[str, Tensor]
Gradients = dict[str, Tensor | None]


@runtime_checkable
class WeightedLoss(Protocol):
    """A loss with its sign and weight; a plain scalar Tensor is one of weight 1."""

    loss: Tensor  # scalar
    weight: float  # lambda_k or mu_j, >= 0
    adversarial: bool  # L_k, owned by a discriminator, rather than an explicit distance
    owner: str  # prefix of the owning discriminator's parameter names, "" if explicit


@dataclass(frozen=True)
class Term:
    """A :class:`WeightedLoss` for those who have no class of their own for it."""

    loss: Tensor
    weight: float = 1.0
    adversarial: bool = False
    owner: str = ""


Part = Callable[[Params], Mapping[str, "Tensor | WeightedLoss"]]


class NonFiniteLossError(FloatingPointError):
    """A loss became infinite or NaN; the message names it."""


@dataclass(frozen=True)
class Objective:
    """A sum of parts, differentiated one after the other so that one graph is held at a time.

    Parts are what lets one step run on micro-batches, or on one domain after the other: the
    gradient of the sum is the sum of the gradients, and the inner step waits for all of them.

    Args:
        parts: functions from parameters (name -> Tensor) to named losses. They must be pure:
            same parameters and random state, same losses.
        weights: weight of each part in the sum; default 1 each. Micro-batches of means have
            their share of the batch.
    """

    parts: Sequence[Part]
    weights: Sequence[float] = ()

    def __post_init__(self) -> None:
        if self.weights and len(self.weights) != len(self.parts):
            raise ValueError(f"{len(self.parts)} parts but {len(self.weights)} weights")

    @classmethod
    def of(cls, function: Part | Objective) -> Objective:
        return function if isinstance(function, Objective) else cls((function,))

    def __iter__(self) -> Iterator[tuple[float, Part]]:
        return iter(zip(self.weights or [1.0] * len(self.parts), self.parts))


@dataclass(frozen=True)
class KeptGraph:
    """The graph of one part's gradients, to be differentiated once more.

    Args:
        edges: parameter name -> where its gradient comes out. The gradient's values have gone
            into the sum over parts; the graph does not need them.
        convolutions: to be told which weights the next differentiation is for.
    """

    edges: dict[str, GradientEdge]
    convolutions: FastSecondDerivatives


@dataclass
class Evaluation:
    """What evaluating an objective gives.

    Args:
        gradients: d/dp by name for the minimising parameters; dL_k/dphi_k for owned ones; None
            where the objective does not reach a parameter. Detached.
        losses: every named loss summed over parts, explicit ones times their weight. Detached.
        graphs: with ``create_graph``, per part the graph of its gradients.
        owned: names of parameters that a discriminator owns.
    """

    gradients: Gradients
    losses: dict[str, Tensor] = field(default_factory=dict)
    graphs: list[KeptGraph] = field(default_factory=list)
    owned: set[str] = field(default_factory=set)


def evaluate(
    objective: Objective,
    params: Params,
    *,
    create_graph: bool = False,
    graph_for: Sequence[str] = (),
    graph_only: bool = False,
    only: Sequence[str] | None = None,
    loss_scale: float = 1.0,
) -> Evaluation:
    """Losses and gradients of an objective, each loss differentiated once.

    With S = sum_k lambda_k L_k, E the explicit losses with their weights, the minimising
    parameters get d(E - S)/dp and phi_k gets dL_k/dphi_k, which is never scaled by lambda_k.

    Args:
        objective: see :class:`Objective`. A parameter that a discriminator owns must be reached
            by no term of the same objective that another owns.
        params: all parameters by name; gradients are taken for those that require them.
        create_graph: keep the gradients differentiable (for a Hessian-vector product).
        graph_for: names whose gradients stay differentiable, in ``graphs``; the rest of that
            graph is released at once.
        graph_only: of the gradients only their graph is wanted: their values need not be right.
        only: names to take gradients for; None = all that require them.
        loss_scale: losses are multiplied by it before and gradients divided by it after
            differentiation, which keeps half-precision gradients from underflowing.

    Raises:
        NonFiniteLossError: a loss is infinite or NaN.
        ValueError: a loss is not a scalar; two terms of one owner have different weights.
    """
    names = [n for n, p in params.items() if p.requires_grad] if only is None else list(only)
    out = Evaluation(dict.fromkeys(names))
    for part_weight, part in objective:
        fast = FastSecondDerivatives()
        with fast if create_graph else nullcontext():
            losses = part(params)
        total, owners, idle = _assemble(losses, part_weight, out.losses)
        del losses
        check_finite(out.losses)
        fast.only_for((params[n] for n in names), values=not graph_only)
        factor = {n: -1.0 / w for o, w in owners.items() for n in names if is_under(n, o)}
        grads: dict[str, Tensor] = {}
        _add_idle(grads, idle, params, names, part_weight * loss_scale)
        if total is not None and total.requires_grad:
            found = torch.autograd.grad(
                total * loss_scale if loss_scale != 1.0 else total,
                [params[n] for n in names],
                create_graph=create_graph,
                allow_unused=True,
            )
            for name, grad in zip(names, found):
                if grad is not None:
                    grad = grad * factor[name] if name in factor else grad
                    grads[name] = grads[name] + grad if name in grads else grad
        out.owned |= {n for o in [*owners, *idle] for n in names if is_under(n, o)}
        if create_graph:
            kept = (n for n in graph_for if n in grads and grads[n].requires_grad)
            out.graphs.append(KeptGraph({n: get_gradient_edge(grads[n]) for n in kept}, fast))
        for name, grad in grads.items():
            grad = grad.detach()
            grad = grad / loss_scale if loss_scale != 1.0 else grad
            before = out.gradients[name]
            out.gradients[name] = grad if before is None else before + grad
    return out


def _assemble(
    losses: Mapping[str, Tensor | WeightedLoss], part_weight: float, totals: dict[str, Tensor]
) -> tuple[Tensor | None, dict[str, float], dict[str, Tensor]]:
    """The minimising player's scalar, the weights by owner, and the losses of weight zero."""
    total: Tensor | None = None
    owners: dict[str, float] = {}
    idle: dict[str, Tensor] = {}
    for name, term in losses.items():
        loss = term if isinstance(term, Tensor) else term.loss
        if loss.dim() != 0:
            raise ValueError(f"loss {name!r} is not a scalar: its shape is {tuple(loss.shape)}")
        explicit = not isinstance(term, Tensor) and not term.adversarial
        value = part_weight * (term.weight if explicit else 1.0) * loss.detach()
        totals[name] = totals[name] + value if name in totals else value
        if isinstance(term, Tensor):
            weighted = part_weight * loss
        elif not term.adversarial:
            weighted = part_weight * term.weight * loss
        elif term.weight == 0:
            idle[term.owner] = idle[term.owner] + loss if term.owner in idle else loss
            continue
        else:
            if owners.setdefault(term.owner, term.weight) != term.weight:
                raise ValueError(
                    f"loss {name!r}: the terms of discriminator {term.owner!r} have different "
                    f"weights, {owners[term.owner]} and {term.weight}; add their losses first"
                )
            weighted = -part_weight * term.weight * loss
        total = weighted if total is None else total + weighted
    return total, owners, idle


def _add_idle(
    grads: dict[str, Tensor],
    idle: Mapping[str, Tensor],
    params: Params,
    names: Sequence[str],
    scale: float,
) -> None:
    """Gradients of discriminators whose weight is zero: they learn, nothing follows them."""
    for owner, loss in idle.items():
        mine = [n for n in names if is_under(n, owner)]
        if not mine or not loss.requires_grad:
            continue
        found = torch.autograd.grad(
            loss * scale, [params[n] for n in mine], retain_graph=True, allow_unused=True
        )
        for name, grad in zip(mine, found):
            if grad is not None:
                grads[name] = grads[name] + grad if name in grads else grad


def check_finite(losses: Mapping[str, Tensor]) -> None:
    """Raise :class:`NonFiniteLossError`, naming them, if some scalar losses are not finite."""
    if not losses:
        return
    values = torch.stack([v.detach().float() for v in losses.values()])
    if not bool(torch.isfinite(values).all()):
        bad = {k: v.item() for k, v in losses.items() if not torch.isfinite(v).all()}
        listed = ", ".join(f"{k} = {v}" for k, v in bad.items())
        raise NonFiniteLossError(f"loss became infinite or NaN: {listed}")
