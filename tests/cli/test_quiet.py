"""Third parties' warnings stay away from users of the command line, and nothing else does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import warnings

import pytest

from metaalign_det.cli.quiet import silence_third_party, silenced_children, warnings_alone

WARN = "import warnings; warnings.warn({!r}, {})"
NOISE = [
    ("pkg_resources is deprecated as an API.", "UserWarning"),
    ("`torch.jit.script` is deprecated. Please switch to `torch.compile`.", "FutureWarning"),
    ("torch.meshgrid: in an upcoming release, it will be required to pass", "UserWarning"),
]


@pytest.mark.parametrize(("text", "category"), NOISE)
def test_noise_is_silent_here_and_in_processes_started_meanwhile(text, category):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        silence_third_party()
        exec(WARN.format(text, category))
        warnings.warn("the learning rate is 0", UserWarning, stacklevel=1)
    assert [str(w.message) for w in seen] == ["the learning rate is 0"]
    with silenced_children():
        assert _child(WARN.format(text, category)) == ""
        assert "learning rate" in _child(WARN.format("learning rate", "UserWarning"))
    assert text in _child(WARN.format(text, category))


def test_the_users_own_warning_filters_win_and_come_back(monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", "error:pkg_resources")
    with silenced_children():
        done = _child(WARN.format("pkg_resources is deprecated", "UserWarning"))
        assert "Traceback" in done
    assert os.environ["PYTHONWARNINGS"] == "error:pkg_resources"


def test_twice_is_once():
    for _ in range(2):
        silence_third_party()
    logger = logging.getLogger("torch.fx._symbolic_trace")
    assert len(logger.filters) == len(set(logger.filters))
    assert not logger.filter(logging.makeLogRecord({"msg": "is_fx_tracing will return"}))
    assert logger.filter(logging.makeLogRecord({"msg": "something else"}))


def test_levels_of_loggers_come_back():
    logger = logging.getLogger("detectron2")
    before = logger.level
    with pytest.raises(ZeroDivisionError), warnings_alone("detectron2"):
        assert not logging.getLogger("detectron2.data").isEnabledFor(logging.INFO)
        1 / 0  # noqa: B018
    assert logger.level == before


def _child(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stderr
