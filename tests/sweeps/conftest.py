"""Fixtures of the tests of sweeps."""

from __future__ import annotations

import sys

import pytest

from metaalign_det.cli import sweep as sweep_command
from tests.sweeps.fake_training import CONFIG, FAKE


@pytest.fixture
def place(tmp_path):
    """A folder with a program that stands in for training, and two configs."""
    (tmp_path / "train.py").write_text(FAKE)
    for name in ("dann", "cdan"):
        (tmp_path / f"{name}.yaml").write_text(CONFIG)
    return tmp_path


@pytest.fixture
def tool(place, monkeypatch):
    """The command ``sweep`` with that program."""
    monkeypatch.setattr(sweep_command, "TRAIN_COMMAND", (sys.executable, str(place / "train.py")))
    return sweep_command
