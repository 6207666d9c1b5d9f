"""What the soak does to trainings, and how it finds that they differ."""

from __future__ import annotations

import json
import random

import pytest
import torch

from benchmarks.soak.__main__ import _empty, _table
from benchmarks.soak.attempts import Disturbance
from benchmarks.soak.compare import differences
from metaalign_det.modeling.checksums import seal_archive

COUNTS = {"write": 1000, "fsync": 20, "replace": 10, "metrics.json half-write": 1}


def test_disturbances_come_at_every_operation_and_in_the_first_half():
    rng = random.Random(0)
    drawn = [Disturbance.draw(rng, 2, 10.0, COUNTS) for _ in range(500)]
    assert {d.kind for d in drawn} == {"kill", "write", "term"}
    assert {d.operation for d in drawn if d.kind == "write"} == set(COUNTS)
    for d in drawn:
        if d.kind == "write":
            assert d.rank == 0 and 1 <= d.at <= max(1, COUNTS[d.operation] / 2)
        else:
            assert d.rank in (-1, 0, 1) and 0 <= d.at <= 5


def run(folder, weight=1.0, loss=0.5):
    folder.mkdir()
    content = {
        "model": {"w": torch.full((2,), weight)},
        "trainer": {"lr": [0.1]},
        "metaalign": {"version": 2, "config": str(folder)},
    }
    torch.save(content, folder / "model_final.pth")
    seal_archive(folder / "model_final.pth")
    records = [{"iteration": 3, "loss": loss, "time": weight}, {"iteration": 4, "time": 1.0}]
    (folder / "metrics.json").write_text("".join(json.dumps(r) + "\n" for r in records))
    return folder


def test_runs_are_compared_bit_for_bit_but_for_their_folder_and_the_clock(tmp_path):
    whole = run(tmp_path / "whole")
    assert differences(run(tmp_path / "same"), whole) == []
    assert differences(run(tmp_path / "weights", weight=1.0000001), whole) == ["/model/w"]
    (found,) = differences(run(tmp_path / "loss", loss=0.6), whole)
    assert found == "metrics.json (1 and 1 records)"


def test_the_table_counts_by_processes_and_disturbance():
    steady = {"seconds": 60, "iterations": 9, "rss_bytes": [1e6, 2e6], "descriptors": [8, 9]}
    what = {"processes": 1, "kind": "write", "operation": "fsync", "equal": True}
    text = _table({"disturbances": [what, {**what, "equal": False}], "steady": steady})
    assert "| 1 | SIGKILL at a file operation | 2 | 1 |" in text
    assert "killed at: fsync 2" in text
    assert "resident memory 1.0 -> 2.0 MB, open files 8.0 -> 9.0" in text
    assert "|" not in _table({"disturbances": [], "steady": steady})


def test_a_folder_of_something_else_is_not_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SystemExit, match="is there and no earlier soak"):
        _empty(tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "x"
    (tmp_path / "soak.json").write_text("{}")
    _empty(tmp_path)
    assert not any(tmp_path.iterdir())
    _empty(tmp_path)
