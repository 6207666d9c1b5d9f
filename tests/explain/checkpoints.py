"""Tiny models in checkpoints as a training leaves them: no data set is needed to use them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image

from tests.tiny import tiny_cfg, tiny_model

NAMES = ["cat", "dog", "traffic light"]


def detector_cfg() -> CfgNode:
    return tiny_cfg(
        "INPUT.MIN_SIZE_TEST", 64, "INPUT.MAX_SIZE_TEST", 128,
        "DATASETS.TRAIN", ("a_data_set_that_is_not_here",),
    )  # fmt: skip


def classifier_cfg() -> CfgNode:
    return tiny_cfg(
        "MODEL.META_ARCHITECTURE", "DomainAdaptiveClassifier",
        "MODEL.BACKBONE.NAME", "build_digits_backbone",
        "MODEL.DIGITS_NET.CHANNELS", [4, 4], "MODEL.DIGITS_NET.FC_DIM", 0,
        "MODEL.CLASSIFIER.IN_FEATURE", "flat", "MODEL.CLASSIFIER.BOTTLENECK", 6,
        "MODEL.CLASSIFIER.NUM_CLASSES", 3, "MODEL.ALIGN.METHOD", "none",
        "INPUT.CLASSIFICATION.RESIZE", 20, "INPUT.CLASSIFICATION.CROP", 16,
        "DATASETS.TRAIN", ("a_data_set_that_is_not_here",),
        discriminators=(),
    )  # fmt: skip


def save_checkpoint(folder: Path, cfg: CfgNode, names=NAMES, seed=0) -> Path:
    """``model_final.pth`` in a run directory, with the entry that tells config and classes."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model_final.pth"
    content = {"model": tiny_model(cfg, seed).state_dict(), "iteration": 9}
    content["metaalign"] = {"config": cfg.dump(), "classes": list(names)}
    torch.save(content, path)
    return path


def save_images(folder: Path, sizes=((90, 60), (60, 90), (90, 60)), seed=0) -> list[Path]:
    """Images of noise, width and height each in pixels."""
    rng = np.random.default_rng(seed)
    files = []
    for number, (width, height) in enumerate(sizes):
        files.append(folder / f"image {number}.png")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(files[-1])
    return files
