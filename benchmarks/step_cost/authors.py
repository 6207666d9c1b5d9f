"""MetaAlign's step as its authors' public code runs it, for comparison of cost only.

Written from the description in this project's notes on the method, not from their code:

1. The objective that looks ahead is differentiated by ``autograd.grad(..., create_graph=True)``.
   The gradient is detached before it is used: the graph of the backward pass is built, held until
   the end of the step, and never differentiated. The step is first order.
2. *Every* trainable parameter takes the inner step, heads and discriminators included, by the
   same step size: stage weights are commented out there.
3. One backward pass of ``L_look(theta) + L_validate(theta')`` follows, so the objective that
   looks ahead is differentiated a second time.

With backbone forward b per image, heads h and discriminators d, and a backward pass of two
forwards, the looking objective costs 5 of its forwards and the validating one 3: role "alignment"
13 b + 3 h + 10 d and role "task" 11 b + 5 h + 6 d, where plain training costs 6 b + 3 h + 6 d.

Signs of adversarial terms are put on the gradients, as everywhere in this package; at first order
this equals the reversal layer that the authors use, and costs the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metaalign_det.adaptation.objectives import Objectives
from metaalign_det.adaptation.source import GradientSource
from metaalign_det.adaptation.step import Batch, Gradients, StepContext
from metaalign_det.coordination import ROLES, check_choice, check_finite, is_under
from metaalign_det.loss_term import LossTerm

_Factors = dict[str, float]


class AuthorsGradients(GradientSource):
    """A gradient source for :class:`~metaalign_det.engine.loop.AdaptationLoop`.

    Args:
        role: "alignment" or "task", the objective that looks ahead. (The authors alternate.)
        alpha: inner step, >= 0; theirs is ``meta_lr`` times the learning rate.
    """

    def __init__(self, role: str, alpha: float) -> None:
        super().__init__()
        self.role = check_choice("role", role, ROLES)
        self.alpha = alpha

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        """Gradients of one step; batches are not split into micro-batches here.

        Raises:
            ValueError: more than one micro-batch.
        """
        if len(batches) != 1:
            raise ValueError("the authors' scheme knows no gradient accumulation")
        params = dict(step.model.named_parameters())
        names = [n for n, p in params.items() if p.requires_grad]
        leaves = [params[n] for n in names]
        both = Objectives(step, batches, split=False)
        objectives = [both.alignment(), both.task()]
        if self.role == "task":
            objectives.reverse()
        (look,), (validate,) = (o.parts for o in objectives)

        found = look(params)
        total, factors, losses = _total(found, names)
        unused_graph = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)
        moved = {
            n: params[n] if g is None else params[n] - self.alpha * factors[n] * g.detach()
            for n, g in zip(names, unused_graph)
        }
        there = validate({**params, **moved})
        total_there, factors_there, losses_there = _total(there, names)

        # The two passes share no node, so this is their single backward pass, latest node first.
        # Two calls, because a sign belongs to each.
        by_name: dict[str, Tensor | None] = dict.fromkeys(names)
        for value, signs in ((total_there, factors_there), (total, factors)):
            grads = torch.autograd.grad(value, leaves, allow_unused=True)
            for name, grad in zip(names, grads):
                if grad is not None:
                    grad = grad * signs[name] if signs[name] != 1.0 else grad
                    by_name[name] = grad if by_name[name] is None else by_name[name] + grad
        del unused_graph
        return Gradients(by_name, {**losses, **losses_there})


def _total(
    terms: Mapping[str, Tensor | LossTerm], names: Sequence[str]
) -> tuple[Tensor, _Factors, dict[str, Tensor]]:
    """What theta minimises, the factor that makes each gradient its owner's, and the losses.

    A discriminator of weight 0 sees detached features: its loss goes in as it is.
    """
    terms = {k: LossTerm.of(t) for k, t in terms.items()}
    losses = {k: t.loss for k, t in terms.items()}
    check_finite(losses)
    factors = dict.fromkeys(names, 1.0)
    weighted = []
    for term in terms.values():
        if not term.adversarial:
            weighted.append(term.weight * term.loss)
        else:
            weight = -term.weight or 1.0
            weighted.append(weight * term.loss)
            factors.update({n: 1.0 / weight for n in names if is_under(n, term.owner)})
    return torch.stack(weighted).sum(), factors, {k: v.detach() for k, v in losses.items()}
