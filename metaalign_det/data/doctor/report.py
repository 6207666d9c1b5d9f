"""Findings as one table, and as JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tabulate import tabulate

from .findings import Finding, Severity
from .inspection import Inspection, Subject

_WIDTHS = (9, 20, 44, 40)  # characters of the columns
_EXAMPLES = 2  # files named per finding; the JSON has them all


def summary_table(subjects: Sequence[Subject]) -> str:
    """The data sets and what is in them, as a table in Markdown."""
    rows = [
        (s.role, s.name, len(s.dicts), "" if s.objects is None else s.objects, len(s.classes or ()))
        for s in subjects
    ]
    return tabulate(rows, ("role", "data set", "images", "objects", "classes"), tablefmt="pipe")


def findings_table(findings: Sequence[Finding]) -> str:
    """All findings, the remedy beside each; text wrapped within its column."""
    rows = []
    for finding in findings:
        examples = [e for e in finding.examples[:_EXAMPLES] if e not in finding.message]
        more = len(finding.examples) - _EXAMPLES
        what = [finding.message, *examples] + ([f"and {more} more"] if more > 0 else [])
        cells = (finding.severity.value, finding.data, "\n".join(what), finding.remedy)
        rows.append([_wrap(cell, width) for cell, width in zip(cells, _WIDTHS)])
    return tabulate(rows, ("severity", "data set", "finding", "remedy"), tablefmt="grid")


def findings_json(inspection: Inspection, findings: Sequence[Finding]) -> dict[str, Any]:
    """What ``--json`` writes: data sets, findings with all their examples, and the totals."""
    return {
        "clean": not any(f.severity == Severity.ERROR for f in findings),
        "data": [
            {
                "role": s.role,
                "name": s.name,
                "kind": s.kind,
                "images": len(s.dicts),
                "objects": s.objects,
                "classes": s.classes,
            }
            for s in inspection.subjects
        ],
        "images_decoded": len(inspection.facts),
        "findings": [{**asdict(f), "severity": f.severity.value} for f in findings],
    }


def _wrap(text: str, width: int) -> str:
    """Lines of at most ``width`` characters; a path is broken where it must be."""
    return "\n".join(
        part for line in text.splitlines() for part in textwrap.wrap(line, width) or [""]
    )
