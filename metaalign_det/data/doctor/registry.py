"""All checks, registered by importing their modules, and what they find together."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import replace

from . import checks
from .findings import CHECKS, Finding, RegisteredCheck, Severity
from .inspection import Inspection

_ORDER = list(Severity)


def registered_checks() -> Sequence[RegisteredCheck]:
    """All checks, of every module in :mod:`.checks`."""
    for module in sorted(m.name for m in pkgutil.iter_modules(checks.__path__)):
        importlib.import_module(f"{checks.__name__}.{module}")
    return tuple(CHECKS.values())


def all_findings(inspection: Inspection) -> list[Finding]:
    """What all checks find, the worst first; those that need pixels only if there are facts."""
    found: dict[Finding, None] = {}  # a data set in two roles is reported once
    for check in registered_checks():
        if check.pixels and not inspection.facts:
            continue
        for finding in check.function(inspection):
            found[replace(finding, check=check.name)] = None
    return sorted(found, key=lambda finding: _ORDER.index(finding.severity))
