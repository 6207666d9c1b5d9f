"""The one reader of metrics.json."""

from __future__ import annotations

import json

import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports.metrics import read_metrics, read_records


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_half_a_record_is_passed_over_and_its_successor_on_the_same_line_is_not(tmp_path, caplog):
    path = write(
        tmp_path / "metrics.json",
        json.dumps({"iteration": 19, "lr": 0.1}),
        '{"iteration": 39, "l' + json.dumps({"iteration": 39, "lr": 0.2}),
        '{"iteration": 59, "l',
        "[1, 2]",
        json.dumps({"iteration": True}),
    )
    assert [r["iteration"] for r in read_records(path)] == [19, 39]
    assert [f"line {n} is no record" in caplog.text for n in (2, 3, 4, 5)] == [False] + [True] * 3


def test_a_name_with_braces_costs_no_record(tmp_path):
    """Of a class, as where the letters and signs of a page are found."""
    record = json.dumps({"iteration": 19, "voc/AP50/{": 50.0, "voc/AP50/}": 60.0})
    path = write(tmp_path / "metrics.json", record, '{"iteration": 39, "{' + record)
    assert [r["voc/AP50/{"] for r in read_records(path)] == [50.0, 50.0]


def test_the_tail_of_a_long_file_begins_with_half_a_line_and_nobody_is_told(tmp_path, caplog):
    lines = [json.dumps({"iteration": i, "lr": 0.1}) for i in range(1000)]
    path = write(tmp_path / "metrics.json", *lines)
    records = read_records(path, tail=500)
    assert records[-1]["iteration"] == 999 and 5 < len(records) < 30
    assert not caplog.text


def test_no_file_is_no_record_but_no_metrics_either(tmp_path):
    assert read_records(tmp_path / "gone.json") == []
    with pytest.raises(UserError, match="gone.json does not exist"):
        read_metrics(tmp_path / "gone.json")
