"""What one coordinated step returns, and the arithmetic on named gradients that all share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from .objective import Gradients
from .reduce import Reducer
from .telemetry import norm


@dataclass(frozen=True)
class StepResult:
    """Gradients of one step of two objectives; the caller applies them.

    Args:
        gradients: name -> gradient to descend, None where neither objective reaches. They go
            into ``p.grad``; clipping comes after.
        losses: every named loss of both objectives, where each was evaluated first; explicit ones
            times their weight, adversarial ones as they are; this process's own.
        beta_gradient (Tensor): shape (M,), d(objective)/d(beta) without L_beta; None where there
            are no stage weights.
        finite: False if some gradient is infinite or NaN (looked at only with a loss scale):
            skip the update.
        telemetry: numbers by name; empty unless asked for.
    """

    gradients: Gradients
    losses: dict[str, Tensor]
    beta_gradient: Tensor | None = None
    finite: bool = True
    telemetry: dict[str, float] = field(default_factory=dict)


class UnreachedParameterError(ValueError):
    """A parameter that is to look ahead gets no gradient from either objective."""


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """``value`` if it is one of ``choices``, else a ValueError that lists them."""
    if value not in choices:
        raise ValueError(f"unknown {name} {value!r}; choose one of {', '.join(choices)}")
    return value


def check_reached(g: Gradients, v: Gradients) -> None:
    """Raise :class:`UnreachedParameterError` for names that both g and v miss."""
    unreached = [n for n in g if g[n] is None and v[n] is None]
    if unreached:
        more = f" and {len(unreached) - 5} more" if len(unreached) > 5 else ""
        raise UnreachedParameterError(
            "parameters in the lookahead's scope get no gradient from either objective: "
            f"{', '.join(unreached[:5])}{more}; freeze them or leave them out of the stage groups"
        )


def add(a: Tensor | None, b: Tensor | None, factor: float = 1.0) -> Tensor | None:
    """a + factor * b, where None is zero."""
    if b is None:
        return a
    if a is None:
        return b if factor == 1.0 else factor * b
    return a.add(b, alpha=factor)


def combine(a: Gradients, b: Gradients, factor: float = 1.0) -> Gradients:
    """:func:`add` by name, over the names of both."""
    return {n: add(a.get(n), b.get(n), factor) for n in {**a, **b}}


def averaged(reduce: Reducer, grads: Gradients, params: Mapping[str, Tensor]) -> Gradients:
    """Gradients averaged over processes, in one collective."""
    return dict(zip(grads, reduce(list(grads.items()), params)))


def all_finite(tensors: Iterable[Tensor | None]) -> bool:
    """Whether no tensor (None is passed over) holds an infinity or a NaN; one synchronization."""
    return math.isfinite(norm(tensors))
