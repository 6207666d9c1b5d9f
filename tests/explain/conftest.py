"""Run directories of tiny untrained models, and tiny data for them."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from metaalign_det.data import register_all
from tests.data.trees import make_tiny_voc
from tests.tiny import tiny_cfg


def write_run(folder, cfg, seed=0, names=("model_final.pth",)):
    """A run directory as training leaves it; each checkpoint has weights of its own."""
    folder.mkdir(parents=True)
    cfg.OUTPUT_DIR = str(folder)
    (folder / "config.yaml").write_text(cfg.dump())
    for number, name in enumerate(names):
        torch.manual_seed(seed + number)
        torch.save({"model": build_model(cfg).state_dict()}, folder / name)
    (folder / "last_checkpoint").write_text(names[-1])
    return folder


@pytest.fixture(scope="session")
def voc_root(tmp_path_factory):
    return make_tiny_voc(tmp_path_factory.mktemp("datasets"), images=12)


@pytest.fixture
def datasets(voc_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(voc_root))
    return voc_root


def detector_cfg(*opts, **kwargs):
    cfg = tiny_cfg(
        "DATASETS.TRAIN", ("voc6_2007_trainval",), "DATASETS.TARGET", ("watercolor_train",),
        "DATASETS.TEST", ("voc6_2007_test", "watercolor_test"),
        "MODEL.ROI_HEADS.NUM_CLASSES", 6, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
        "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TRAIN", 96,
        "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0, *opts, **kwargs,
    )  # fmt: skip
    register_all(cfg)
    return cfg


@pytest.fixture(scope="session")
def run_folders(tmp_path_factory, voc_root):
    """Three runs as a sweep lays them out: source only, and two that align."""
    root = tmp_path_factory.mktemp("output")
    every = ("LOCAL", "GLOBAL", "INSTANCE")
    for number, (method, discriminators) in enumerate(
        {"source": (), "swda": every, "swda_meta": every}.items()
    ):
        write_run(
            root / "runs" / method / "demo" / f"seed0-{number:010x}",
            detector_cfg(discriminators=discriminators),
            seed=10 * number,
            names=("model_0000004.pth", "model_final.pth"),
        )
    return root
