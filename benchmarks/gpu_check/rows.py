"""One row per check: what was measured, what is allowed, and why."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from metaalign_det.reports.table import Cell

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """The outcome of one check.

    Args:
        group, name: of the check.
        measured: the number that was measured; None where the check did not end.
        tolerance: the largest value that passes; None where nothing is compared.
        reason: why this tolerance, or what is measured.
        problem: what kept the check from ending; "" = nothing.
        seconds: that it took.
    """

    group: str
    name: str
    measured: float | None
    tolerance: float | None
    reason: str = ""
    problem: str = ""
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """A number within the tolerance; NaN is not."""
        if self.problem or self.measured is None or not math.isfinite(self.measured):
            return False
        return self.tolerance is None or self.measured <= self.tolerance

    def cells(self) -> dict[str, Cell]:
        """The row of the table."""
        return {
            "check": f"{self.group}: {self.name}",
            "result": "pass" if self.passed else "FAIL",
            "measured": "–" if self.measured is None else f"{self.measured:.3g}",
            "tolerance": "–" if self.tolerance is None else f"{self.tolerance:.3g}",
            "why": self.problem or self.reason,
        }


@dataclass(frozen=True)
class Check:
    """Something to be measured on a device.

    Args:
        group, name: for the table; ``--only`` looks for words in both.
        measure: returns the number.
        tolerance, reason: see :class:`Row`.
    """

    group: str
    name: str
    measure: Callable[[], float]
    tolerance: float | None = None
    reason: str = ""

    def run(self) -> Row:
        """Measure. An exception is a failure of this check and keeps no other from running."""
        start = time.monotonic()
        measured, problem = None, ""
        try:
            measured = float(self.measure())
        except Exception as error:
            logger.exception("%s: %s did not end", self.group, self.name)
            problem = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        seconds = time.monotonic() - start
        return Row(self.group, self.name, measured, self.tolerance, self.reason, problem, seconds)


def run_checks(checks: Iterable[Check]) -> Iterator[Row]:
    """Run one after the other, each from an empty cache of device memory."""
    for check in checks:
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        yield check.run()


Named = Mapping[str, Tensor | None]


def relative_difference(found: Named, expected: Named) -> float:
    """|found - expected| / |expected| over all tensors as one vector; float64, on the CPU.

    A tensor that is missing on one side alone makes it infinite.
    """
    if {k for k, v in found.items() if v is not None} != {
        k for k, v in expected.items() if v is not None
    }:
        return math.inf
    names = [k for k, v in expected.items() if v is not None]
    difference = total = 0.0
    for k in names:
        a, b = (x.detach().cpu().double() for x in (found[k], expected[k]))
        difference += float((a - b).square().sum())
        total += float(b.square().sum())
    return math.sqrt(difference / max(total, 1e-60))
