"""Objectives: named losses as pure functions of named parameters, and their gradients.

Two players share an objective. *Adversarial* losses L_k are minimised by the discriminator that
owns them and maximised, with weight lambda_k, by everything else. No gradient reversal layer is
involved: reversal multiplies inside ``backward``, and differentiating through that gives a wrong
Hessian. Signs are put on the finished gradients instead, which is linear and right at any order
(docs/method.md, "Discriminators and gradient reversal").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from ..loss_term import LossTerm
from .ops.convolution import FastSecondDerivatives
from .stages import is_under

Params = Mapping[str, Tensor]
Gradients = dict[str, Tensor | None]


Part = Callable[[Params], Mapping[str, "Tensor | LossTerm"]]


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

    With S = sum_k lambda_k L_k and E the explicit losses with their weights, the minimizing
    parameters get d(E - S)/dp, and phi_k gets d(L_k + E)/dphi_k: its own loss is never scaled by
    lambda_k, and an explicit loss that reaches it keeps its sign.

    Args:
        objective: see :class:`Objective`. A parameter that a discriminator owns must be reached
            by no adversarial term of the same objective that another owns.
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
        ValueError: a loss is not a scalar; two terms of one owner have different weights; an
            owner under which there is no parameter.
    """
    names = [n for n, p in params.items() if p.requires_grad] if only is None else list(only)
    out = Evaluation(dict.fromkeys(names))
    for part_weight, part in objective:
        fast = FastSecondDerivatives()
        with fast if create_graph else nullcontext():
            losses = part(params)
        sums = _Sums.of(losses, part_weight, out.losses)
        del losses
        check_finite(out.losses)
        owned = {o: _members(o, params, names) for o in sums.owners}
        fast.only_for((params[n] for n in names), values=not graph_only)
        grads = _differentiate(sums, owned, params, names, loss_scale, create_graph)
        out.owned.update(*owned.values())
        if create_graph:
            kept = (n for n in graph_for if n in grads and grads[n].requires_grad)
            out.graphs.append(KeptGraph({n: get_gradient_edge(grads[n]) for n in kept}, fast))
        for name, grad in grads.items():
            grad = grad.detach()
            grad = grad / loss_scale if loss_scale != 1.0 else grad
            before = out.gradients[name]
            out.gradients[name] = grad if before is None else before + grad
    return out


@dataclass
class _Sums:
    """The losses of one part, added up by what differentiation has to tell apart.

    Args:
        explicit: E, times the part's weight; None where there is none.
        adversarial: S, the same.
        owners: discriminator -> lambda_k.
        idle: discriminator -> its loss, where lambda_k is 0: it learns, nothing follows it.
    """

    explicit: Tensor | None = None
    adversarial: Tensor | None = None
    owners: dict[str, float] = field(default_factory=dict)
    idle: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        losses: Mapping[str, Tensor | LossTerm],
        part_weight: float,
        totals: dict[str, Tensor],
    ) -> _Sums:
        """Sort the losses of a part; their values are added to ``totals`` by name."""
        sums = cls()
        for name, given in losses.items():
            term = LossTerm.of(given)
            if term.loss.dim() != 0:
                shape = tuple(term.loss.shape)
                raise ValueError(f"loss {name!r} is not a scalar: its shape is {shape}")
            weight = part_weight * (1.0 if term.adversarial else term.weight)
            value = weight * term.loss.detach()
            totals[name] = totals[name] + value if name in totals else value
            if not term.adversarial:
                sums.explicit = _plus(sums.explicit, weight * term.loss)
                continue
            known = sums.owners.setdefault(term.owner, term.weight)
            if known != term.weight:
                raise ValueError(
                    f"loss {name!r}: the terms of discriminator {term.owner!r} have different "
                    f"weights, {known} and {term.weight}; add their losses first"
                )
            if term.weight:
                sums.adversarial = _plus(sums.adversarial, part_weight * term.weight * term.loss)
            else:
                sums.idle[term.owner] = _plus(sums.idle.get(term.owner), part_weight * term.loss)
        return sums


def _plus(a: Tensor | None, b: Tensor) -> Tensor:
    return b if a is None else a + b


def _members(owner: str, params: Params, names: Sequence[str]) -> list[str]:
    """Those of ``names`` that lie under the owner."""
    members = [n for n in names if is_under(n, owner)]
    if not members and not any(is_under(n, owner) for n in params):
        raise ValueError(
            f"a loss term is owned by {owner!r}, but no parameter lies under that name"
        )
    return members


def _differentiate(
    sums: _Sums,
    owned: Mapping[str, Sequence[str]],
    params: Params,
    names: Sequence[str],
    loss_scale: float,
    create_graph: bool,
) -> dict[str, Tensor]:
    """Gradients by name of one part, times ``loss_scale``; names that are not reached are missing.

    One pass over E - S, in which phi_k got dE - lambda_k dL_k. What E gives to discriminators is
    found apart, by a pass that visits nothing if E does not reach them.
    """
    grads: dict[str, Tensor] = {}

    def add(loss: Tensor | None, to: Sequence[str], retain: bool) -> dict[str, Tensor]:
        if loss is None or not loss.requires_grad or not to:
            return {}
        found = torch.autograd.grad(
            loss * loss_scale if loss_scale != 1.0 else loss,
            [params[n] for n in to],
            create_graph=create_graph,
            retain_graph=retain or create_graph,
            allow_unused=True,
        )
        return {n: g for n, g in zip(to, found) if g is not None}

    for owner, loss in sums.idle.items():
        grads.update(add(loss, owned[owner], retain=True))
    players = {n: sums.owners[o] for o in owned for n in owned[o] if o not in sums.idle}
    direct = add(sums.explicit, list(players), retain=True) if sums.adversarial is not None else {}
    total = sums.explicit
    if sums.adversarial is not None:
        total = -sums.adversarial if total is None else total - sums.adversarial
    for name, grad in add(total, names, retain=False).items():
        if name in players:
            own = grad - direct[name] if name in direct else grad
            grad = own * (-1.0 / players[name])
            grad = grad + direct[name] if name in direct else grad
        grads[name] = grads[name] + grad if name in grads else grad
    return grads


def check_finite(losses: Mapping[str, Tensor]) -> None:
    """Raise :class:`NonFiniteLossError`, naming them, if some scalar losses are not finite."""
    if not losses:
        return
    values = torch.stack([v.detach().float() for v in losses.values()])
    if not bool(torch.isfinite(values).all()):
        bad = {k: v.item() for k, v in losses.items() if not torch.isfinite(v).all()}
        listed = ", ".join(f"{k} = {v}" for k, v in bad.items())
        raise NonFiniteLossError(f"loss became infinite or NaN: {listed}")
