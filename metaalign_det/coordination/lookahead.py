"""One coordinated update of two objectives: MetaAlign's lookahead (Wei et al., CVPR 2021).

With theta = {theta_1..theta_M} in stage groups, the objective that *looks ahead* has the gradient
g at theta and moves to theta'_m = theta_m - alpha beta_m g_m. The other one *validates* there: v
is its gradient at theta'. Role "domain": alignment looks ahead; role "task": the task does.

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

Nothing here knows about models; objectives are functions of named parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from .objective import Gradients, Objective, Part, evaluate
from .reduce import Reducer, keep_local
from .second_order import second_order_term
from .stages import StageGroups
from .stateless import RandomState
from .telemetry import inner_products, norm, step_telemetry

ORDERS = ("first", "exact")
ROLES = ("domain", "task")
HVPS = ("keep_graph", "recompute")
INNERS = ("global", "local")


class UnreachedParameterError(ValueError):
    """A parameter that is to look ahead gets no gradient from either objective."""


@dataclass(frozen=True)
class StepResult:
    """What one coordinated step gives; the caller applies it.

    Args:
        gradients: name -> gradient to descend, None where neither objective reaches. They go
            into ``p.grad``; clipping comes after.
        beta_gradient (Tensor): shape (M,), d(objective)/d(beta) without L_beta.
        losses: every named loss, of the looking objective at theta and of the validating one at
            theta'; explicit ones times their weight, adversarial ones as they are; this process's
            own.
        finite: False if some gradient is infinite or NaN (looked at only with a loss scale):
            skip the update.
        telemetry: numbers by name, see :func:`coordinated_step`; empty unless asked for.
    """

    gradients: Gradients
    beta_gradient: Tensor
    losses: dict[str, Tensor]
    finite: bool = True
    telemetry: dict[str, float] = field(default_factory=dict)


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """``value`` if it is one of ``choices``, else a ValueError that lists them."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")
    return value


def coordinated_step(
    task: Objective | Part,
    alignment: Objective | Part,
    params: Mapping[str, Tensor],
    groups: StageGroups,
    beta: Sequence[float],
    alpha: float,
    *,
    role: str = "domain",
    order: str = "first",
    hvp: str = "keep_graph",
    through_adversary: bool = False,
    reduce: Reducer = keep_local,
    inner: str = "global",
    loss_scale: float | None = None,
    replay: Callable[[], AbstractContextManager] = nullcontext,
    telemetry: bool = False,
    measure_change: bool = False,
) -> StepResult:
    """Gradients of one lookahead step.

    Args:
        task, alignment: the two objectives. Each is evaluated and differentiated once
            ("recompute" evaluates the looking one twice).
        params: all parameters by name; those that require gradients get one.
        groups: which of them look ahead, in M stage groups.
        beta: M stage weights.
        alpha: step size of the lookahead, >= 0, parameter units per gradient unit.
        role: "domain" (alignment looks ahead, the task validates) or "task".
        order: "first" or "exact".
        hvp: exact only; how its Hessian-vector product is had: "keep_graph" holds the looking
            objective's graph through the validation; "recompute" evaluates it again, part by
            part with the same random numbers, and holds one part's graph at a time.
        through_adversary: exact only; give discriminators the second-order term as well. The
            validating loss depends on them through g, but "max over phi" would then also
            *maximise* that loss; off, as the paper means it.
        reduce: averages gradients over processes (:class:`~.reduce.FlatAllReduce`).
        inner: "global": theta' is formed from the averaged g, which makes several processes
            equal to one with all the data; two collectives a step, exact three. "local": each
            process looks ahead along its own g; one collective, but *another objective*, the
            mean over processes of their own lookaheads.
        loss_scale: for half precision; g is unscaled before theta' is formed.
        replay: context for evaluations beyond the reported one ("recompute" and
            ``measure_change``), where the caller mutes logging and BatchNorm tracking.
        telemetry: also return per group the ``cosine`` and ``inner`` product of g and v and
            ``step_ratio`` = |alpha beta g| / |theta|, as ``lookahead/<quantity>/<group>``.
        measure_change: also return ``lookahead/relative_change`` = |v(theta') - v(theta)| /
            |v(theta)| over the scope, at the cost of evaluating the validating objective once
            more. Past about 1 the lookahead has left the region in which g means anything.

    Raises:
        ValueError: unknown role, order, hvp or inner; alpha < 0; a loss that is not a scalar.
        NonFiniteLossError: a loss is infinite or NaN.
        DoubleBackwardError: exact, and an operator has no second derivative.
        UnreachedParameterError: a parameter in scope is reached by neither objective.
    """
    check_choice("role", role, ROLES)
    check_choice("order", order, ORDERS)
    check_choice("hvp", hvp, HVPS)
    check_choice("inner gradient", inner, INNERS)
    if not alpha >= 0:
        raise ValueError(f"alpha must be >= 0, got {alpha}")
    average = reduce if inner == "global" else keep_local
    look, validate = (alignment, task) if role == "domain" else (task, alignment)
    look, validate = Objective.of(look), Objective.of(validate)
    scale = 1.0 if loss_scale is None else loss_scale
    scope = groups.scope
    step_size = {name: alpha * w for name, w in groups.weight_of(beta).items()}
    keep = order == "exact" and hvp == "keep_graph"

    look_state = RandomState() if order == "exact" and not keep else None
    ahead = evaluate(look, params, create_graph=keep, graph_for=scope, loss_scale=scale)
    g = _averaged(average, {n: ahead.gradients[n] for n in scope}, params)
    if loss_scale is not None and not all_finite(g.values()):
        result = StepResult(
            ahead.gradients, inner_products(groups, g, g, params), ahead.losses, finite=False
        )
        return result if inner == "global" else _average_result(result, reduce, params)
    moved = look_ahead(params, g, step_size)
    validate_state = RandomState() if measure_change else None
    there = evaluate(validate, {**params, **moved}, loss_scale=scale)
    del moved  # room for the second derivative

    second: Gradients = {}
    if order == "exact":
        v = _averaged(average, {n: there.gradients[n] for n in scope}, params)
        second = second_order_term(
            look,
            params,
            ahead,
            {n: step_size[n] * v[n] for n in scope if v[n] is not None},
            scope,
            owned=() if through_adversary else ahead.owned | there.owned,
            loss_scale=scale,
            again=None if look_state is None else (look_state, replay),
        )
    bucket = {
        n: add(ahead.gradients[n], there.gradients[n])
        for n in ahead.gradients
        if n not in step_size
    }
    if order == "exact":
        bucket.update(dict.fromkeys(scope))
        bucket = {n: add(x, second.get(n), -1.0) for n, x in bucket.items()}
        gradients = _averaged(average, bucket, params)
        gradients.update({n: add(add(g[n], v[n]), gradients[n]) for n in scope})
    else:
        bucket.update({n: there.gradients[n] for n in scope})
        gradients = _averaged(average, bucket, params)
        v = {n: gradients[n] for n in scope}
        gradients.update({n: add(g[n], v[n]) for n in scope})
    if inner == "global":  # a local gradient may miss what another process reaches
        _check_reached(g, v)

    numbers: dict[str, float] = {}
    products = inner_products(groups, g, v, params)
    if telemetry:
        numbers = step_telemetry(groups, g, v, params, products, step_size)
    if validate_state is not None:
        with validate_state.replayed(), replay():
            here = evaluate(validate, params, loss_scale=scale).gradients
        here = _averaged(average, {n: here[n] for n in scope}, params)
        change = norm(add(v[n], here[n], -1.0) for n in scope)
        numbers["lookahead/relative_change"] = change / max(norm(here.values()), 1e-30)
    result = StepResult(
        gradients=gradients,
        beta_gradient=-alpha * products,
        losses={**ahead.losses, **there.losses},
        finite=loss_scale is None or all_finite(gradients.values()),
        telemetry=numbers,
    )
    return result if inner == "global" else _average_result(result, reduce, params)


def look_ahead(
    params: Mapping[str, Tensor], g: Gradients, step_size: Mapping[str, float]
) -> dict[str, Tensor]:
    """theta' = theta - step_size * g for every name in scope, as leaves that require gradients."""
    with torch.no_grad():
        return {
            name: (
                params[name].clone()
                if g[name] is None
                else torch.sub(params[name], g[name], alpha=size)
            ).requires_grad_()
            for name, size in step_size.items()
        }


def add(a: Tensor | None, b: Tensor | None, factor: float = 1.0) -> Tensor | None:
    """a + factor * b, where None is zero."""
    if b is None:
        return a
    if a is None:
        return b if factor == 1.0 else factor * b
    return torch.add(a, b, alpha=factor)


def _averaged(reduce: Reducer, grads: Gradients, params: Mapping[str, Tensor]) -> Gradients:
    return dict(zip(grads, reduce(list(grads.items()), params)))


def _average_result(
    result: StepResult, reduce: Reducer, params: Mapping[str, Tensor]
) -> StepResult:
    """Average a whole result in one collective; one process without finite values spoils all."""
    beta = result.beta_gradient if result.finite else result.beta_gradient * float("nan")
    params = {**params, _BETA: beta}
    averaged = _averaged(reduce, {**result.gradients, _BETA: beta}, params)
    beta = averaged.pop(_BETA)
    finite = result.finite and all_finite([beta])
    return replace(result, gradients=averaged, beta_gradient=beta, finite=finite)


_BETA = "<beta>"  # no parameter can be called so


def _check_reached(g: Gradients, v: Gradients) -> None:
    unreached = [n for n in g if g[n] is None and v[n] is None]
    if unreached:
        more = f" and {len(unreached) - 5} more" if len(unreached) > 5 else ""
        raise UnreachedParameterError(
            "parameters in the lookahead's scope get no gradient from either objective: "
            f"{', '.join(unreached[:5])}{more}; freeze them or leave them out of the stage groups"
        )


def all_finite(tensors) -> bool:
    """Whether no tensor (None is passed over) holds an infinity or a NaN; one synchronisation."""
    return math.isfinite(norm(tensors))
