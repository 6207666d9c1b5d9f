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


def test_a_share_is_taken_seed_by_seed():
    scores = {"source": [40.0, 20.0], "ours": [60.0, 80.0], "oracle": [80.0, 100.0]}
    rows = share({k: np.array(v) for k, v in scores.items()}, "source", "oracle")
    assert rows[1]["share of the gap, %"].startswith("62.5 (")
    with pytest.raises(UserError, match="no row 'best', only source, ours, oracle"):
        share({k: np.array(v) for k, v in scores.items()}, "source", "best")


def test_what_is_no_table_is_named(tmp_path, capsys):
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"rows": [{"method": "dann", "target test": {"values": [1.0]}}]}))
    assert main(["odd-even", str(path)]) == 1
    assert "no row '<base>_meta (opposite)'" in capsys.readouterr().err
    assert main(["share", str(path), "--column", "val"]) == 1
    assert "no row has the column 'val'" in capsys.readouterr().err
