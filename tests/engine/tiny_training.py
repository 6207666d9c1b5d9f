"""A training of a few steps on tiny data, in this process or from the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from metaalign_det.data import register_all
from metaalign_det.engine.trainer import AdaptationTrainer
from tests.tiny import tiny_cfg

ROOT = Path(__file__).parents[2]

TINY = (
    "SOLVER.MAX_ITER", "3", "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu",
    "DATASETS.TRAIN", "('voc6_2007_trainval',)", "DATASETS.TARGET", "('watercolor_train',)",
    "DATASETS.TEST", "('watercolor_test','voc6_2007_test')", "METAALIGN.TELEMETRY_PERIOD", "1",
)  # fmt: skip
CONFIG = str(ROOT / "configs" / "mini" / "swda_meta.yaml")


def command(args):
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def training_cfg(output, *opts):
    cfg = tiny_cfg(
        "DATASETS.TRAIN", ("voc6_2007_trainval", "voc6_2012_trainval"),
        "DATASETS.TARGET", ("watercolor_train",),
        "DATASETS.TEST", (),
        "MODEL.ROI_HEADS.NUM_CLASSES", 6,
        "INPUT.MIN_SIZE_TRAIN", (64, 80), "INPUT.MIN_SIZE_TEST", 64,
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (4,),
        "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.WARMUP_ITERS", 2,
        "SOLVER.DISCRIMINATOR.OPTIMIZER", "ADAM",
        "DATALOADER.NUM_WORKERS", 0,
        "METAALIGN.ENABLED", True, "METAALIGN.BETA.LR", 5.0,
        "OUTPUT_DIR", str(output), *opts,
    )  # fmt: skip
    register_all(cfg)
    return cfg


class Interruption(Exception):
    pass


def train(cfg, resume=False, stop_at=None):
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    if stop_at is not None:
        step = trainer.run_step

        def interrupted():
            if trainer.iter == stop_at:
                raise Interruption
            step()

        trainer.run_step = interrupted
    trainer.train()
    return trainer


def everything(trainer):
    """All that a checkpoint holds, as one flat dict of comparable things."""
    out = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for k, v in value.items():
                walk(f"{prefix}/{k}", v)
        elif isinstance(value, list | tuple):
            for i, v in enumerate(value):
                walk(f"{prefix}/{i}", v)
        else:
            out[prefix] = value

    walk("model", trainer.model.state_dict())
    walk("trainer", trainer.state_dict())
    return out
