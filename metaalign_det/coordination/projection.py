"""Two gradients at the same point, combined by weights from their inner products.

With g the alignment gradient, v the task gradient and w a weighting (:mod:`.weightings`), the
shared parameters descend ``w_0 g + w_1 v`` instead of ``g + v``; all others descend the sum. So do
those of a stage group (or of all) where g or v is 0: there is nothing to weigh. Nor is there where
one of them is not finite, which the caller finds in the sum.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .objective import Gradients, Objective, Part, evaluate
from .reduce import Reducer, keep_local
from .stages import StageGroups
from .step import StepResult, add, all_finite
from .telemetry import norm
from .weightings import Weighting


@dataclass(frozen=True)
class Projection:
    """Coordinates two objectives by a weighting; built once, called every step.

    Args:
        groups: the parameters that both objectives share, in stage groups.
        weighting: Gramian -> two weights. What is weighed by itself has its own copy.
        per_stage: weigh every stage group by its own Gramian; False: one for all of them.
    """

    groups: StageGroups
    weighting: Weighting
    per_stage: bool = False

    def __call__(
        self,
        task: Objective | Part,
        alignment: Objective | Part,
        params: Mapping[str, Tensor],
        *,
        loss_scale: float | None = None,
        reduce: Reducer = keep_local,
        telemetry: bool = False,
    ) -> StepResult:
        """Gradients of one step; the task is evaluated first. One collective.

        Args:
            task, alignment: the two objectives.
            params: all parameters by name; those that require gradients get one.
            reduce: averages gradients over processes (:class:`~.reduce.FlatAllReduce`).
            loss_scale: for half precision.
            telemetry: also return per group the ``cosine``, and the two weights, as
                ``projection/<quantity>/<group>``.

        Raises:
            ValueError: a loss that is not a scalar.
            NonFiniteLossError: a loss is infinite or NaN.
        """
        scale = 1.0 if loss_scale is None else loss_scale
        of_task = evaluate(Objective.of(task), params, loss_scale=scale)
        of_alignment = evaluate(Objective.of(alignment), params, loss_scale=scale)
        scope = self.groups.scope
        rest = [n for n in of_task.gradients if n not in set(scope)]
        entries = [
            *((n, of_alignment.gradients[n]) for n in scope),
            *((n, of_task.gradients[n]) for n in scope),
            *((n, add(of_alignment.gradients[n], of_task.gradients[n])) for n in rest),
        ]
        mean = reduce(entries, params)
        size = len(scope)
        g, v = dict(zip(scope, mean)), dict(zip(scope, mean[size : 2 * size]))
        gradients: Gradients = dict(zip(rest, mean[2 * size :]))
        losses = {**of_alignment.losses, **of_task.losses}
        if loss_scale is not None and not all_finite(mean):
            joint = {n: add(g[n], v[n]) for n in scope}
            return StepResult({**gradients, **joint}, losses, finite=False)

        numbers: dict[str, float] = {}
        for name, members in self._blocks().items():
            gramian = _gramian(g, v, members)
            alignment_weight, task_weight = 1.0, 1.0
            if gramian.isfinite().all() and gramian.diagonal().all():
                alignment_weight, task_weight = self.weightings[name](gramian).tolist()
            for n in members:
                own = None if g[n] is None else alignment_weight * g[n]
                gradients[n] = add(own, v[n], task_weight)
            if telemetry:
                lengths = norm(g[n] for n in members) * norm(v[n] for n in members)
                numbers[f"projection/cosine/{name}"] = float(gramian[0, 1]) / max(lengths, 1e-30)
                numbers[f"projection/weight_alignment/{name}"] = alignment_weight
                numbers[f"projection/weight_task/{name}"] = task_weight
        return StepResult(gradients, losses, telemetry=numbers)

    @cached_property
    def weightings(self) -> dict[str, Weighting]:
        """A weighting by what it weighs: "all", or each stage group."""
        return {name: copy.deepcopy(self.weighting) for name in self._blocks()}

    def state_dict(self) -> dict[str, Any]:
        """What each weighting keeps from step to step, by name."""
        return {name: weighting.state_dict() for name, weighting in self.weightings.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`, of the same stage groups and ``per_stage``."""
        for name, weighting in self.weightings.items():
            weighting.load_state_dict(state[name])

    def _blocks(self) -> dict[str, tuple[str, ...]]:
        """What is weighed together: name -> names of parameters."""
        if not self.per_stage:
            return {"all": self.groups.scope}
        rest = {"rest": self.groups.rest} if self.groups.rest else {}
        return {**self.groups.stages, **rest}


def _gramian(g: Gradients, v: Gradients, members: tuple[str, ...]) -> Tensor:
    """[[<g,g>, <g,v>], [<g,v>, <v,v>]] over the members, None being zero; float64, on the CPU."""
    products = [
        torch.dot(g[n].flatten(), v[n].flatten())
        for n in members
        if g[n] is not None and v[n] is not None
    ]
    # One synchronization with a GPU, not one per tensor.
    inner = torch.stack(products).double().sum().item() if products else 0.0
    a, c = norm(g[n] for n in members) ** 2, norm(v[n] for n in members) ** 2
    return torch.tensor([[a, inner], [inner, c]], dtype=torch.float64)
