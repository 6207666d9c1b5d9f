"""MetaAlign's lookahead: one coordinated update of two objectives (Wei et al., CVPR 2021).

With theta = {theta_1..theta_M} in stage groups, the objective that *looks ahead* has the gradient
g at theta and moves to theta'_m = theta_m - alpha beta_m g_m. The other one *validates* there: v
is its gradient at theta'. Role "alignment": alignment looks ahead; role "task": the task does.

=========  ======================================  =======================================
gradient   first order                             exact
=========  ======================================  =======================================
theta      g + v                                   g + v - alpha (dg/dtheta)^T (beta v)
beta_m     - alpha <g_m, v_m>                      the same
heads      the sum of both objectives' gradients   the same - alpha (dg/dphi)^T (beta v)
phi_k      dL_k/dphi_k, never scaled by lambda_k   the same
=========  ======================================  =======================================

Exact is the gradient of ``look(theta) + validate(theta - alpha beta g(theta))``. First order
drops its second-order term. Each role then gives one half of the gradient of <g, v>, so that
*alternating roles at 2 alpha matches exact at alpha*: say this factor wherever modes are compared.
docs/method.md derives the table and both halves.

Nothing here knows about models; objectives are functions of named parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .objective import Evaluation, Gradients, Objective, Part, evaluate
from .reduce import Reducer, keep_local
from .second_order import second_order_term
from .stages import StageGroups
from .stateless import RandomState
from .step import StepResult, add, all_finite, averaged, check_choice, check_reached
from .telemetry import inner_products, norm, step_telemetry

ORDERS = ("first", "exact")
ROLES = ("alignment", "task")
HVPS = ("keep_graph", "recompute")
INNERS = ("global", "local")
DIRECTIONS = ("gradient", "opposite", "random", "random_sign", "both")

_BETA = "<beta>"  # no parameter can be called so


@dataclass(frozen=True)
class Lookahead:
    """Coordinates two objectives by letting one look ahead; built once, called every step.

    Args:
        groups: which parameters look ahead, in M stage groups.
        order: "first" or "exact".
        hvp: exact only; how its Hessian-vector product is computed: "keep_graph" holds the looking
            objective's graph through the validation; "recompute" evaluates it again, part by
            part with the same random numbers, and holds one part's graph at a time.
        through_adversary: exact only; give discriminators the second-order term as well. The
            validating loss depends on them through g, but "max over phi" would then also
            *maximize* that loss; off, as the paper means it.
        inner: "global": theta' is formed from the averaged g, which makes several processes
            equal to one with all the data; two collectives per step, exact three. "local": each
            process looks ahead along its own g; one collective, but *another objective*, the
            mean over processes of their own lookaheads.
        direction: first order only, other than "gradient" (d = g, the published one). What is
            looked along, theta' = theta - alpha beta d: "opposite" d = -g and "random" (normal
            numbers of the length of g, tensor by tensor) are the controls that tell agreement of
            gradients, which is odd in d, from a validating loss that is flat along d, which is
            even; "random_sign" is g or -g with equal probability, and "both" averages v over the
            two: the even part without the odd one.
        normalized: first order only; alpha is the length of the step, |theta' - theta| for
            beta = 1, and not a multiple of g.

    Raises:
        ValueError: an unknown choice, or exact along another direction than the gradient.
    """

    groups: StageGroups
    order: str = "first"
    hvp: str = "keep_graph"
    through_adversary: bool = False
    inner: str = "global"
    direction: str = "gradient"
    normalized: bool = False

    def __post_init__(self) -> None:
        check_choice("order", self.order, ORDERS)
        check_choice("hvp", self.hvp, HVPS)
        check_choice("inner gradient", self.inner, INNERS)
        check_choice("direction", self.direction, DIRECTIONS)
        if self.order == "exact" and (self.direction != "gradient" or self.normalized):
            raise ValueError(
                "order 'exact' differentiates the step along the gradient itself: it goes neither "
                f"with direction {self.direction!r} nor with a normalized step; use order 'first'"
            )

    def __call__(
        self,
        task: Objective | Part,
        alignment: Objective | Part,
        params: Mapping[str, Tensor],
        beta: Sequence[float],
        alpha: float,
        *,
        role: str = "alignment",
        loss_scale: float | None = None,
        reduce: Reducer = keep_local,
        replay: Callable[[], AbstractContextManager] = nullcontext,
        generator: torch.Generator | None = None,
        telemetry: bool = False,
        measure_change: bool = False,
    ) -> StepResult:
        """Gradients of one step. Each objective is evaluated and differentiated once.

        Args:
            task, alignment: the two objectives.
            params: all parameters by name; those that require gradients get one.
            beta: M stage weights.
            alpha: how far to look, >= 0: parameter units per gradient unit, or a length.
            role: "alignment" (alignment looks ahead, the task validates) or "task".
            reduce: averages gradients over processes (:class:`~.reduce.FlatAllReduce`).
            loss_scale: for half precision; g is unscaled before theta' is formed.
            replay: context for evaluations beyond the reported ones ("recompute", "both",
                ``measure_change``), where the caller mutes logging and BatchNorm tracking.
            generator: of random directions and signs, in the same state in every process; CPU.
                None = torch's global one.
            telemetry: also return per group the ``cosine`` and ``inner`` product of g and v and
                ``step_ratio`` = |theta' - theta| / |theta|, as ``lookahead/<quantity>/<group>``.
            measure_change: also return ``lookahead/relative_change`` = |v(theta') - v(theta)| /
                |v(theta)| over the scope, at the cost of evaluating the validating objective once
                more. Past about 1 the lookahead has left the region in which g means anything.

        Raises:
            ValueError: unknown role; alpha < 0; a loss that is not a scalar.
            NonFiniteLossError: a loss is infinite or NaN.
            DoubleBackwardError: exact, and an operator has no second derivative.
            UnreachedParameterError: a parameter in scope is reached by neither objective.
        """
        check_choice("role", role, ROLES)
        if not alpha >= 0:
            raise ValueError(f"alpha must be >= 0, got {alpha}")
        look, validate = (alignment, task) if role == "alignment" else (task, alignment)
        look, validate = Objective.of(look), Objective.of(validate)
        scale = 1.0 if loss_scale is None else loss_scale
        scope = self.groups.scope
        mean = reduce if self.inner == "global" else keep_local
        keep = self.order == "exact" and self.hvp == "keep_graph"

        look_state = RandomState() if self.order == "exact" and not keep else None
        ahead = evaluate(look, params, create_graph=keep, graph_for=scope, loss_scale=scale)
        g = averaged(mean, {n: ahead.gradients[n] for n in scope}, params)
        if loss_scale is not None and not all_finite(g.values()):
            zero = inner_products(self.groups, g, g, params)
            result = StepResult(ahead.gradients, ahead.losses, zero, finite=False)
            return result if self.inner == "global" else _average(result, reduce, params)
        if self.normalized:
            alpha = alpha / max(norm(g.values()), 1e-30)
        step_size = {n: alpha * w for n, w in self.groups.weight_of(beta).items()}
        d = self._direction(g, generator)

        validate_state = RandomState() if measure_change or self.direction == "both" else None
        moved = look_ahead(params, d, step_size)
        there = evaluate(validate, {**params, **moved}, loss_scale=scale)
        odd: Gradients | None = None
        if self.direction == "both":
            back = look_ahead(params, d, {n: -s for n, s in step_size.items()})
            with validate_state.replayed(), replay():
                other = evaluate(validate, {**params, **back}, loss_scale=scale)
            there, odd = _halves(there, other)
        del moved  # room for the second derivative

        def outside_scope() -> Gradients:
            names = [n for n in ahead.gradients if n not in step_size]
            return {n: add(ahead.gradients[n], there.gradients[n]) for n in names}

        if self.order == "exact":
            v = averaged(mean, {n: there.gradients[n] for n in scope}, params)
            again = None if look_state is None else (look_state, replay)
            second = second_order_term(
                look,
                params,
                ahead,
                {n: step_size[n] * v[n] for n in scope if v[n] is not None},
                scope,
                owned=() if self.through_adversary else ahead.owned | there.owned,
                loss_scale=scale,
                again=again,
            )
            rest = {**outside_scope(), **dict.fromkeys(scope)}
            rest = {n: add(x, second.get(n), -1.0) for n, x in rest.items()}
            gradients = averaged(mean, rest, params)
            gradients.update({n: add(add(g[n], v[n]), gradients[n]) for n in scope})
        else:
            bucket = {**outside_scope(), **{n: there.gradients[n] for n in scope}}
            gradients = averaged(mean, bucket, params)
            v = {n: gradients[n] for n in scope}
            gradients.update({n: add(g[n], v[n]) for n in scope})
        if self.inner == "global":  # a local gradient may miss what another process reaches
            check_reached(g, v)

        products = inner_products(self.groups, d, v, params)
        if odd is not None:
            odd = averaged(mean, {n: odd[n] for n in scope}, params)
            products = inner_products(self.groups, d, odd, params)
        numbers: dict[str, float] = {}
        if telemetry:
            numbers = step_telemetry(self.groups, g, v, params, step_size)
        if measure_change:
            with validate_state.replayed(), replay():
                here = evaluate(validate, params, loss_scale=scale).gradients
            here = averaged(mean, {n: here[n] for n in scope}, params)
            change = norm(add(v[n], here[n], -1.0) for n in scope)
            numbers["lookahead/relative_change"] = change / max(norm(here.values()), 1e-30)
        result = StepResult(
            gradients=gradients,
            losses={**ahead.losses, **there.losses},
            beta_gradient=-alpha * products,
            finite=loss_scale is None or all_finite(gradients.values()),
            telemetry=numbers,
        )
        return result if self.inner == "global" else _average(result, reduce, params)

    def _direction(self, g: Gradients, generator: torch.Generator | None) -> Gradients:
        """d, by name."""
        if self.direction == "opposite":
            return {n: None if x is None else -x for n, x in g.items()}
        if self.direction == "random":
            return {n: None if x is None else _of_length(x, generator) for n, x in g.items()}
        if self.direction == "random_sign" and torch.rand((), generator=generator) < 0.5:
            return {n: None if x is None else -x for n, x in g.items()}
        return g


def look_ahead(
    params: Mapping[str, Tensor], direction: Gradients, step_size: Mapping[str, float]
) -> dict[str, Tensor]:
    """theta' = theta - step_size * d for every name in scope, as leaves that require gradients."""
    with torch.no_grad():
        return {
            name: (
                params[name].clone()
                if direction[name] is None
                else torch.sub(params[name], direction[name], alpha=size)
            ).requires_grad_()
            for name, size in step_size.items()
        }


def _of_length(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Normal random numbers of the shape and the Euclidean length of x."""
    z = torch.randn(x.shape, generator=generator, dtype=torch.float32).to(x)
    return z * (x.norm() / z.norm().clamp(min=1e-30))


def _halves(plus: Evaluation, minus: Evaluation) -> tuple[Evaluation, Gradients]:
    """The even half (v+ + v-) / 2, as an evaluation, and the odd half (v+ - v-) / 2."""
    names = plus.gradients
    even = {n: _half(add(plus.gradients[n], minus.gradients[n])) for n in names}
    odd = {n: _half(add(plus.gradients[n], minus.gradients[n], -1.0)) for n in names}
    return replace(plus, gradients=even), odd


def _half(x: Tensor | None) -> Tensor | None:
    return None if x is None else 0.5 * x


def _average(result: StepResult, reduce: Reducer, params: Mapping[str, Tensor]) -> StepResult:
    """Average a whole result in one collective; one process without finite values spoils all."""
    beta = result.beta_gradient if result.finite else result.beta_gradient * float("nan")
    grads = averaged(reduce, {**result.gradients, _BETA: beta}, {**params, _BETA: beta})
    beta = grads.pop(_BETA)
    finite = result.finite and all_finite([beta])
    return replace(result, gradients=grads, beta_gradient=beta, finite=finite)
