"""What is wrong with data, as a list of findings, and the registry of what looks for them.

A check is a function in a module of :mod:`.checks`, under :func:`check`. That is all that adding
one takes: the modules of that package are found by themselves.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .inspection import Inspection


class Severity(str, Enum):
    """How bad a finding is."""

    #: Training would stop, or its result would mean nothing.
    ERROR = "error"
    #: Training runs; the result is likely to suffer or to be misread.
    WARNING = "warning"
    #: Worth knowing.
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """One row of the table.

    Attributes:
        severity: how bad it is.
        data: the data set, or the two, that it is about.
        message: what was found, a sentence that stands by itself.
        remedy: what to do about it, a sentence; "" where the message says it.
        count: of images, boxes or classes.
        examples: files (with what is wrong where they differ), all of them; the table shows the
            first.
        check: name of the check, filled in by the registry.
    """

    severity: Severity
    data: str
    message: str
    remedy: str = ""
    count: int = 1
    examples: tuple[str, ...] = ()
    check: str = ""

    def __str__(self) -> str:
        """What was found and what to do about it."""
        return ". ".join(filter(None, (self.message, self.remedy)))


Check = Callable[["Inspection"], Iterator[Finding]]


@dataclass(frozen=True)
class RegisteredCheck:
    """A check, and whether it needs the content of the image files."""

    name: str
    function: Check
    pixels: bool


_CHECKS: dict[str, RegisteredCheck] = {}


def check(*, pixels: bool = False) -> Callable[[Check], Check]:
    """Register a check under the name of its function.

    Args:
        pixels: it needs ``Inspection.facts``, for which every image is decoded. The others are
            cheap: they also run at the start of every training.
    """

    def register(function: Check) -> Check:
        name = function.__name__
        if name in _CHECKS:
            raise ValueError(f"there are two checks named {name!r}")
        _CHECKS[name] = RegisteredCheck(name, function, pixels)
        return function

    return register


def registered_checks() -> Sequence[RegisteredCheck]:
    """All checks, of every module in :mod:`.checks`."""
    checks = importlib.import_module(f"{__package__}.checks")  # by name: they import this module
    for module in sorted(m.name for m in pkgutil.iter_modules(checks.__path__)):
        importlib.import_module(f"{checks.__name__}.{module}")
    return tuple(_CHECKS.values())
