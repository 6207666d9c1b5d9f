"""SDAT: a task loss that is flat, beside an alignment that is plain (Rangwani et al., ICML 2022).

The task's gradient is taken at ``theta + rho grad L / |grad L|``, as sharpness-aware minimization
does (Foret et al., ICLR 2021); alignment's is taken at theta, since flattening the discriminator's
loss as well was found to hurt.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from torch import Tensor

from .lookahead import look_ahead
from .objective import Objective, Part, evaluate
from .reduce import Reducer, keep_local
from .stateless import RandomState
from .step import StepResult, all_finite, averaged, combine
from .telemetry import norm


@dataclass(frozen=True)
class SmoothTask:
    """Coordinates two objectives by making the task's smooth; built once, called every step.

    Args:
        rho: length of the ascent step, parameter units.

    Raises:
        ValueError: rho < 0.
    """

    rho: float = 0.05

    def __post_init__(self) -> None:
        if not self.rho >= 0:
            raise ValueError(f"rho must be >= 0, got {self.rho}")

    def __call__(
        self,
        task: Objective | Part,
        alignment: Objective | Part,
        params: Mapping[str, Tensor],
        *,
        loss_scale: float | None = None,
        reduce: Reducer = keep_local,
        replay: Callable[[], AbstractContextManager] = nullcontext,
    ) -> StepResult:
        """Gradients of one step; the task is evaluated twice with the same random numbers.

        Args:
            task, alignment: the two objectives.
            params: all parameters by name; those that require gradients get one.
            reduce: averages gradients over processes (:class:`~.reduce.FlatAllReduce`).
            loss_scale: for half precision.
            replay: context of the task's second evaluation.

        Raises:
            ValueError: a loss that is not a scalar.
            NonFiniteLossError: a loss is infinite or NaN.
        """
        scale = 1.0 if loss_scale is None else loss_scale
        task = Objective.of(task)
        state = RandomState()
        here = evaluate(task, params, loss_scale=scale)
        uphill = averaged(reduce, here.gradients, params)
        length = norm(uphill.values())
        if loss_scale is not None and not length < float("inf"):
            return StepResult(uphill, here.losses, finite=False)
        moved = look_ahead(params, uphill, dict.fromkeys(uphill, -self.rho / max(length, 1e-30)))
        with state.replayed(), replay():
            there = evaluate(task, {**params, **moved}, loss_scale=scale)
        beside = evaluate(Objective.of(alignment), params, loss_scale=scale)
        total = averaged(reduce, combine(there.gradients, beside.gradients), params)
        finite = loss_scale is None or all_finite(total.values())
        return StepResult(total, {**beside.losses, **here.losses}, finite=finite)
