from __future__ import annotations

import json
import math

import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports.run_report import words
from metaalign_det.reports.statistics import paired_difference
from metaalign_det.sweeps.differences import (
    as_facts,
    compare,
    difference_table,
    read_pairs,
    told,
)
from metaalign_det.sweeps.suites import get_benchmark
from metaalign_det.sweeps.tables import report
from tests.sweeps.fake_training import plan, sweep

ROWS = [
    {"method": "dann", "target": [50.0, 52.0, math.nan]},
    {"method": "dann_meta (a1)", "target": [52.0, 56.0, 60.0]},
    {"method": "dann_meta (a3)", "target": [49.0, 52.0, 60.0]},
]
METHODS = ["dann", "dann_meta", "dann_meta"]


def test_differences_are_paired_by_seed_and_each_variant_is_compared():
    pairs = read_pairs(["dann_meta:dann"], METHODS)
    compared = compare(ROWS, METHODS, ["target"], (0, 1, 2), pairs)
    assert [(c["row"], c["base"]) for c in compared] == [
        ("dann_meta (a1)", "dann"),
        ("dann_meta (a3)", "dann"),
    ]
    first, second = as_facts(compared)
    assert first["by_seed"] == {"0": 2.0, "1": 4.0}  # seed 2 has no pair
    # t_{0.975, 1} = 12.7062; sd / sqrt(2) = 1.
    assert (first["mean"], first["low"]) == pytest.approx((3.0, 3 - 12.7062), abs=1e-3)
    assert (first["up"], first["seeds"]) == (2, 2)
    assert second["by_seed"] == {"0": -1.0, "1": 0.0}
    table = difference_table(compared)
    assert "+3.0" in table and "-9.7 to +15.7" in table and "2 of 2" in table
    assert difference_table([]) == ""


def test_one_name_is_compared_with_all_others():
    assert read_pairs(["b"], ["a", "b", "c", "c"]) == [("a", "b"), ("c", "b")]
    for text in ("d", "d:a", "a:d"):
        with pytest.raises(UserError, match=f"--against {text}: 'd' is no method.*: a, b"):
            read_pairs([text], ["a", "b"])


def test_a_sweeps_table_has_them_below_and_its_json_every_value(place, tmp_path):
    runs = plan(place, methods=("dann", "cdan"), seeds=(0, 1))
    sweep(place, runs).execute()
    text = report(
        get_benchmark("mini_digits"), runs, tmp_path, against=[("cdan", "dann"), ("gone", "dann")]
    )[0]
    assert "Paired differences, points" in text
    facts = json.loads((tmp_path / "table_accuracy.json").read_text())["differences"]
    assert {(f["row"], f["minus"]) for f in facts} == {("cdan", "dann")}
    assert len(facts[0]["by_seed"]) == 2
    assert "Paired differences" in (tmp_path / "table_accuracy.md").read_text()


def test_zero_has_no_sign():
    base = {0: 50.0, 1: 50.0, 2: 50.0}
    mean, interval, *_ = told(paired_difference(base, {0: 49.98, 1: 49.97, 2: 49.99}))
    assert (mean, interval) == ("0.0", "0.0 to 0.0")
    assert (words.number(-0.04), words.signed(-0.04)) == ("0.0", "0.0")
    assert words.signed(-0.06) == "−0.1"
