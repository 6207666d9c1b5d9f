"""Odd and even parts, and shares of a gap, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.table_parts import main, odd_even, share
from metaalign_det.errors import UserError


def test_odd_and_even_part_by_hand():
    base = np.array([50.0, 60.0])
    scores = {"dann": base, "dann_meta (a3)": base + 4, "dann_meta (opposite)": base - 2}
    (row,) = odd_even(scores)
    assert row["odd part"].startswith("+3.0") and row["even part"].startswith("+1.0")
    assert row["gradient"].startswith("+4.0") and row["gradient"].endswith("[a3]")


def test_a_method_whose_name_ends_another_has_its_own_controls():
    wda, swda = np.array([40.0, 42.0]), np.array([50.0, 60.0])
    scores = {"swda": swda, "swda_meta (a1)": swda + 4, "swda_meta (opposite)": swda - 2}
    scores |= {"wda": wda, "wda_meta (a2)": wda + 1, "wda_meta (opposite)": wda + 1}
    assert [r["gradient"][-5:] for r in odd_even(scores)] == [" [a1]", " [a2]"]


def test_a_share_is_taken_seed_by_seed():
    scores = {"source": [40.0, 20.0], "ours": [60.0, 80.0], "oracle": [80.0, 100.0]}
    rows = share({k: np.array(v) for k, v in scores.items()}, "source", "oracle")
    assert rows[1]["share of the gap, %"].startswith("62.5 (")
    with pytest.raises(UserError, match="no row 'best', only source, ours, oracle"):
        share({k: np.array(v) for k, v in scores.items()}, "source", "best")


def test_rows_of_two_tables_compare_where_their_seeds_are_the_same(tmp_path, capsys):
    paths = [str(tmp_path / f"{i}.json") for i in range(3)]
    for path, name, values, seeds in zip(
        paths, ("dann", "dann (sdat)", "late"), ([50.0, 60.0], [51.0, 63.0], [1.0, 2.0]),
        ([0, 1], [0, 1], [1, 2]),
    ):  # fmt: skip
        row = {"method": name, "target test": {"values": values}}
        (tmp_path / path).write_text(json.dumps({"rows": [row], "seeds": seeds}))
    assert main(["difference", *paths[:2], "--base", "dann"]) == 0
    assert "+2.0 (" in capsys.readouterr().out
    assert main(["difference", *paths, "--base", "dann"]) == 1
    assert "other seeds do not compare: [0, 1], [0, 1], [1, 2]" in capsys.readouterr().err


def test_what_is_no_table_is_named(tmp_path, capsys):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rows": [{"method": "dann", "target test": {"values": [1.0]}}]}))
    assert main(["odd-even", str(path)]) == 1
    assert "no row '<base>_meta (opposite)'" in capsys.readouterr().err
    assert main(["share", str(path), "--column", "val"]) == 1
    assert "no row has the column 'val'" in capsys.readouterr().err
