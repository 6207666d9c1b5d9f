"""Charts of any numbers."""

from __future__ import annotations

import re

import pytest

from metaalign_det.reports.charts import bar_chart


@pytest.mark.parametrize("heights", [[-1.0, -1.0], [-1.0, -0.5], [0.0, 0.0], [2.0, -1.0], []])
def test_bars_start_at_zero_inside_the_chart(heights):
    names = [str(i) for i in range(len(heights))]
    svg = bar_chart("t", names, [("x", heights, 0)], y_label="points").svg
    bars = re.findall(r'class="bar c0" x="\S+" y="(\S+)" width="\S+" height="(\S+)"', svg)
    assert len(bars) == len(heights)
    zero = float(re.findall(r'class="axis" x1="\S+" y1="(\S+)"', svg)[-1])
    assert 14 <= zero <= 230
    for (top, height), value in zip(bars, heights):
        end = float(top) + float(height) if value >= 0 else float(top)
        assert end == pytest.approx(zero, abs=0.6)
