from __future__ import annotations

from types import SimpleNamespace

import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports.run_report.ground_truth import read_ground_truth


def test_a_report_generates_no_data(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in ("mini_openmoji_test", "mini_digits_target_test"):
        with pytest.raises(UserError, match=f"{name}.*is not there: set DETECTRON2_DATASETS"):
            read_ground_truth(name, SimpleNamespace(config={}))
    assert not list(tmp_path.iterdir())
