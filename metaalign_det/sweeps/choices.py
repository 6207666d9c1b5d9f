"""Which variant of a method is reported, whatever it is that variants are compared by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from .runs import Run


@dataclass(frozen=True)
class Choice:
    """The variant of a method that a validation metric prefers.

    Args:
        method: name of the method.
        variant: the chosen one; None if no variant is complete.
        validation: variant -> mean over seeds of what was chosen by; the complete variants only,
            since means over different seeds do not compare.
        incomplete: the other variants: a run is not there, or has no score.
        by: what that is: the column of a validation set, or a label-free validator.
        digits: behind the point of ``validation`` in messages.
    """

    method: str
    variant: str | None
    validation: Mapping[str, float]
    incomplete: tuple[str, ...] = ()
    by: str = ""
    digits: int = 1


def choose_variants(
    runs: Sequence[Run],
    scores: Callable[[Run], Sequence[float]],
    by: str,
    *,
    higher_is_better: bool = True,
    digits: int = 1,
) -> list[Choice]:
    """For each method the variant whose scores have the best mean.

    Args:
        runs: of all variants; ties go to the variant that comes first.
        scores: of one run; NaN where it has none, so that its variant is not considered.
        by, digits: of :class:`Choice`.
        higher_is_better: the direction of the scores.
    """
    choices = []
    best_of = max if higher_is_better else min
    for method in dict.fromkeys(run.method for run in runs):
        of_method = [run for run in runs if run.method == method]
        means: dict[str, float] = {}
        incomplete = []
        for variant in dict.fromkeys(run.variant for run in of_method):
            values = [x for run in of_method if run.variant == variant for x in scores(run)]
            if not values or any(math.isnan(x) for x in values):
                incomplete.append(variant)
            else:
                means[variant] = mean(values)
        best = best_of(means, key=lambda variant: means[variant]) if means else None
        choices.append(Choice(method, best, means, tuple(incomplete), by=by, digits=digits))
    return choices
