"""Pictures and tables from trained runs."""

from __future__ import annotations

from .curves import Panel, plot_curves
from .detections import draw_detections
from .metrics import read_metrics
from .statistics import mean_and_sd
from .table import format_table, write_results

__all__ = [
    "Panel",
    "draw_detections",
    "format_table",
    "mean_and_sd",
    "plot_curves",
    "read_metrics",
    "write_results",
]
