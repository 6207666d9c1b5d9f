"""The benchmark of RoIAlign's backward: both ways agree, and a row for every case."""

from __future__ import annotations

import pytest

from benchmarks import roi_align_backward


def test_a_row_for_every_case(monkeypatch, capsys):
    cases = (("small", (2, 8, 9, 9), 6, 3), ("wide", (1, 4, 5, 30), 4, 2))
    monkeypatch.setattr(roi_align_backward, "CASES", cases)
    assert roi_align_backward.main(["--turns", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(cases)
    assert "small" in lines[2]


def test_no_turns_are_an_error(capsys):
    with pytest.raises(SystemExit):
        roi_align_backward.main(["--turns", "0"])
    assert "must be positive" in capsys.readouterr().err
