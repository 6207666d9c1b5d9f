"""The report on one or several runs: what it reads, what it compares, what it writes."""

from __future__ import annotations

from .write import write_report

__all__ = ["write_report"]
