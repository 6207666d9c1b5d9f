"""How the weight lambda of an alignment objective grows over training: pure functions."""

from __future__ import annotations

import math

#: Names of the schedules, the legal values of ``MODEL.ALIGN.SCHEDULE``.
SCHEDULES = ("constant", "dann")


def dann_ramp(progress: float, slope: float = 10.0) -> float:
    """``2 / (1 + exp(-slope * progress)) - 1``: 0 at the start, towards 1 at the end.

    Early on the discriminator is noise, and so would be what it asks of the features.

    Args:
        progress: share of training done, >= 0; beyond 1 the ramp goes on towards 1.
        slope: 10 as published (Ganin et al., JMLR 2016, section 5.2.2).
    """
    return 2.0 / (1.0 + math.exp(-slope * progress)) - 1.0


def schedule_value(name: str, iteration: int, steps: int, slope: float = 10.0) -> float:
    """The factor that multiplies lambda at an iteration.

    Args:
        name: one of :data:`SCHEDULES`.
        iteration: counted from 0.
        steps: iterations over which the "dann" schedule runs, > 0.
        slope: of the "dann" schedule.

    Raises:
        ValueError: an unknown name, or ``steps`` that is not positive.
    """
    if name == "constant":
        return 1.0
    if name != "dann":
        raise ValueError(f"unknown schedule {name!r}; choose one of {', '.join(SCHEDULES)}")
    if steps <= 0:
        raise ValueError(f"the dann schedule needs a positive number of steps, got {steps}")
    return dann_ramp(iteration / steps, slope)
