"""Heun's method for the game of features against discriminators (Acuna et al., ICLR 2022).

With F(z) what every player descends at z = (theta, phi), the update is
``(F(z) + F(z - eta F(z))) / 2``: second order in the step size, where the plain one spirals around
an equilibrium. It costs two plain steps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor

from .lookahead import look_ahead
from .objective import Gradients, Objective, Part, evaluate
from .reduce import Reducer, keep_local
from .stateless import RandomState
from .step import StepResult, all_finite, averaged, combine


class Extragradient:
    """Coordinates two objectives by an average over two points."""

    def __call__(
        self,
        task: Objective | Part,
        alignment: Objective | Part,
        params: Mapping[str, Tensor],
        eta: float,
        *,
        loss_scale: float | None = None,
        reduce: Reducer = keep_local,
        replay: Callable[[], AbstractContextManager] = nullcontext,
    ) -> StepResult:
        """Gradients of one step; both objectives are evaluated twice, the task first.

        Args:
            task, alignment: the two objectives.
            params: all parameters by name; those that require gradients get one.
            eta: length of the inner step, parameter units per gradient unit; the learning rate.
            reduce: averages gradients over processes (:class:`~.reduce.FlatAllReduce`).
            loss_scale: for half precision.
            replay: context of the second evaluations.

        Raises:
            ValueError: eta < 0; a loss that is not a scalar.
            NonFiniteLossError: a loss is infinite or NaN.
        """
        if not eta >= 0:
            raise ValueError(f"eta must be >= 0, got {eta}")
        scale = 1.0 if loss_scale is None else loss_scale

        def field(at: Mapping[str, Tensor]) -> tuple[Gradients, dict[str, Tensor]]:
            parts = [evaluate(Objective.of(o), at, loss_scale=scale) for o in (task, alignment)]
            total = averaged(reduce, combine(parts[0].gradients, parts[1].gradients), params)
            return total, {**parts[1].losses, **parts[0].losses}

        state = RandomState()
        here, losses = field(params)
        if loss_scale is not None and not all_finite(here.values()):
            return StepResult(here, losses, finite=False)
        moved = look_ahead(params, here, dict.fromkeys(here, eta))
        with state.replayed(), replay():
            there, _ = field({**params, **moved})
        gradients = {n: None if x is None else 0.5 * x for n, x in combine(here, there).items()}
        finite = loss_scale is None or all_finite(gradients.values())
        return StepResult(gradients, losses, finite=finite)
