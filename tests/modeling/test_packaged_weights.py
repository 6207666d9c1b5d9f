"""Weights that come with the package are what their README says, and can be started from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import metaalign_det
from metaalign_det.config import CONFIG_ROOT, load_cfg
from metaalign_det.engine.checkpoint import check_weights
from metaalign_det.modeling.weight_files import read_weight_file
from tests.tiny import tiny_model

FOLDER = Path(metaalign_det.__file__).parent / "miniatures" / "weights"


def test_files_have_the_hashes_of_their_readme():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    hashes = dict(re.findall(r"SHA-256 of `([\w.]+)`: `([0-9a-f]{64})`", text))
    assert hashes.keys() == {p.name for p in FOLDER.glob("*.safetensors")}
    for name, expected in hashes.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == expected, name


def test_the_source_detector_fits_the_miniatures_configs():
    cfg = load_cfg(CONFIG_ROOT / "mini" / "source.yaml", ["MODEL.DEVICE", "cpu"])
    path = Path(check_weights(cfg.MODEL.WEIGHTS))
    assert path == FOLDER / "mini_source.safetensors"
    weights = read_weight_file(path)["model"]
    own = tiny_model(cfg).state_dict()
    trained = {k: v.shape for k, v in own.items() if "num_batches_tracked" not in k}
    assert trained == {k: weights[k].shape for k in trained}
