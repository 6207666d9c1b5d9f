"""What stands between a command and its first step."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from metaalign_det.cli.startup import quick_imports

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def _thawed():
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_thawed")
def test_the_collector_rests_while_importing_and_works_again_afterwards():
    frozen = gc.get_freeze_count()
    with quick_imports():
        assert not gc.isenabled()
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen


@pytest.mark.usefixtures("_thawed")
def test_a_collector_that_was_off_stays_off_and_an_error_comes_through():
    gc.disable()
    try:
        with pytest.raises(ImportError), quick_imports():
            raise ImportError
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_training_imports_nothing_for_pictures_and_reports():
    """Hundreds of milliseconds each; what draws or fits imports them when it does."""
    code = (
        "import sys\n"
        "import detectron2.engine\n"
        "before = set(sys.modules)\n"
        "import metaalign_det.engine.trainer, metaalign_det.data\n"
        "late = {'matplotlib', 'sklearn', 'scipy', 'tensorboard', 'setuptools', 'pandas', 'jinja2',"
        " 'onnx', 'IPython'}\n"
        "print(*sorted(late & (set(sys.modules) - before)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == []
