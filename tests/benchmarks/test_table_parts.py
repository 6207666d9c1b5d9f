"""Odd and even parts, and shares of a gap, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks.table_parts import difference, main, odd_even, read_scores, share
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


def _table(path, seeds, **values):
    rows = [{"method": m, "target test": {"values": v}} for m, v in values.items()]
    path.write_text(json.dumps({"rows": rows, "seeds": seeds}))
    return str(path)


def test_tables_of_the_same_seeds_have_their_rows_put_together(tmp_path, capsys):
    paths = [
        _table(tmp_path / "1.json", [0, 1], dann=[50.0, 60.0]),
        _table(tmp_path / "2.json", [0, 1], sdat=[51.0, 63.0], dann=[0.0, 0.0]),
    ]
    assert main(["difference", *paths, "--base", "dann"]) == 0
    assert "+2.0 (" in capsys.readouterr().out


def test_tables_of_other_seeds_add_them_to_the_rows_that_all_have(tmp_path):
    paths = [
        _table(tmp_path / "1.json", [0, 1], dann=[50.0, 60.0], meta=[51.0, 61.0], once=[1.0, 2.0]),
        _table(tmp_path / "2.json", [2], meta=[80.0], dann=[70.0]),
    ]
    scores = read_scores(paths, "target test")
    assert list(scores) == ["dann", "meta"]
    (_, row) = difference(scores, "dann", "target test")
    assert row["target test"] == [51.0, 61.0, 80.0] and row["seeds up"] == 3
    assert row["minus dann"].startswith("+4.0 (")


def test_a_control_without_metaalign_and_a_value_without_a_seed_are_named(tmp_path, capsys):
    scores = {"dann": np.zeros(2), "dann_meta (opposite)": np.zeros(2)}
    with pytest.raises(UserError, match=r"dann_meta \(...\) is to be one row .*, not 0"):
        odd_even(scores)
    assert main(["difference", _table(tmp_path / "1.json", [0, 1], dann=[50.0])]) == 1
    assert "not a value for each of 2 seeds" in capsys.readouterr().err


def test_tables_that_share_a_part_of_their_seeds_or_no_row_do_not_compare(tmp_path, capsys):
    first = _table(tmp_path / "1.json", [0, 1], dann=[50.0, 60.0])
    for seeds in ([1, 2], []):
        other = _table(tmp_path / "2.json", seeds, dann=[1.0, 2.0])
        assert main(["difference", first, other, "--base", "dann"]) == 1
        assert f"do not compare: [0, 1], {seeds}" in capsys.readouterr().err
    other = _table(tmp_path / "2.json", [2, 3], cdan=[1.0, 2.0])
    assert main(["difference", first, other, "--base", "dann"]) == 1
    assert "no method is in all tables" in capsys.readouterr().err


def test_what_is_no_table_is_named(tmp_path, capsys):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rows": [{"method": "dann", "target test": {"values": [1.0]}}]}))
    assert main(["odd-even", str(path)]) == 1
    assert "no row '<base>_meta (opposite)'" in capsys.readouterr().err
    assert main(["share", str(path), "--column", "val"]) == 1
    assert "no row has the column 'val'" in capsys.readouterr().err
