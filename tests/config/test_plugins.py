"""Modules that METAALIGN_PLUGINS names are there in every command, with keys of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metaalign_det.config import load_cfg
from metaalign_det.errors import UserError

PLUGIN = """
from metaalign_det.alignment.mmd import MMD
from metaalign_det.alignment.registry import ALIGNMENT_METHODS
from detectron2.config import CfgNode

class Energy(MMD):
    pass

ALIGNMENT_METHODS["energy"] = Energy

def add_config(cfg):
    cfg.ENERGY = CfgNode({"POWER": 1.5})
"""


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> str:
    """A module on the path, imported by no test of this process."""
    (tmp_path / "plugged_in.py").write_text(PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("METAALIGN_PLUGINS", "plugged_in")
    return "plugged_in"


def test_a_command_knows_what_a_plug_in_registers_and_the_keys_that_it_adds(plugin):
    ask = (
        "from metaalign_det.cli.train import setup, argparse;"
        "cfg = setup(argparse.Namespace(config_file='mini_digits/mmd.yaml', opts="
        "['MODEL.DEVICE', 'cpu', 'MODEL.ALIGN.METHOD', 'energy', 'ENERGY.POWER', '2']));"
        "from detectron2.modeling import build_model;"
        "print(type(build_model(cfg).alignment).__name__, cfg.ENERGY.POWER)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ask], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "Energy 2.0"


def test_a_plug_in_that_does_not_exist_is_one_sentence(monkeypatch):
    monkeypatch.setenv("METAALIGN_PLUGINS", "os, plugged.inn")
    with pytest.raises(UserError, match=r"METAALIGN_PLUGINS: .* 'plugged\.inn'.*PYTHONPATH"):
        load_cfg()
    monkeypatch.setenv("METAALIGN_PLUGINS", ".plugged")
    with pytest.raises(UserError, match=r"METAALIGN_PLUGINS: '\.plugged' is no module"):
        load_cfg()


def test_a_plug_in_that_lacks_something_itself_says_what(plugin, tmp_path, monkeypatch):
    (tmp_path / "plugged_badly.py").write_text("import not_there_at_all")
    monkeypatch.setenv("METAALIGN_PLUGINS", "plugged_badly")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load_cfg()
