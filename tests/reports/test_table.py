"""Tables: what a reader sees, and what a program reads back."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports import format_table, mean_and_sd, write_results
from metaalign_det.reports.table import format_cell

ROWS = [
    {"method": "source-only", "target": [40.0, 44.0], "iterations": 400},
    {"method": "SW-DA", "target": 49.94, "iterations": None},
]
COLUMNS = ["method", "target", "source"]


def test_mean_and_sample_deviation_leave_nan_out():
    assert mean_and_sd([1.0, 3.0, math.nan]) == (2.0, pytest.approx(math.sqrt(2)))
    assert mean_and_sd([5.0])[0] == 5.0
    assert math.isnan(mean_and_sd([5.0])[1])
    assert all(math.isnan(x) for x in mean_and_sd([]))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("a", "a"),
        (3, "3"),
        (np.int64(3), "3"),
        (-0.001, "0.00"),
        (3.14159, "3.14"),
        ([40.0, 44.0], "42.00 ± 2.83"),
        ([40.0], "40.00"),
        ([], "–"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_cells(cell, text):
    assert format_cell(cell, digits=2) == text


def test_text_and_markdown_tables():
    text = format_table(ROWS, COLUMNS, "Mini").splitlines()
    assert text[0] == "Mini"
    assert text[3].split() == ["source-only", "42.0", "±", "2.8", "–"]
    markdown = format_table(ROWS, COLUMNS, "Mini", style="markdown").splitlines()
    assert markdown[0] == "## Mini"
    assert [c.strip() for c in markdown[5].strip("|").split("|")] == ["SW-DA", "49.9", "–"]
    assert r"| a\|b " in format_table([{"method": "a|b"}], ["method"], style="markdown")
    assert format_table([], COLUMNS).split()[:3] == COLUMNS
    with pytest.raises(UserError, match="'html' is none of text, markdown"):
        format_table(ROWS, COLUMNS, style="html")


def test_json_keeps_every_value_and_markdown_the_notes(tmp_path):
    md, js = tmp_path / "new" / "t.md", tmp_path / "new" / "t.json"
    rows = [*ROWS, {"method": "none", "target": math.nan}]
    write_results(md, js, rows, COLUMNS, "Mini", notes=["Seeds 0-1."], extra={"seeds": [0, 1]})
    saved = json.loads(js.read_text())
    cell = saved["rows"][0]["target"]
    assert cell["values"] == [40.0, 44.0]
    assert (cell["mean"], cell["sd"]) == (42.0, pytest.approx(2.8284, abs=1e-4))
    assert saved["rows"][1] == {"method": "SW-DA", "target": 49.94, "source": None}
    assert saved["rows"][2]["target"] is None
    assert saved["seeds"] == [0, 1]
    assert md.read_text().endswith("\n\nSeeds 0-1.\n")
    assert "42.0 ± 2.8" in md.read_text()
