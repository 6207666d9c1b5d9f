"""A config on another number of processes than it is written for."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
import yaml

from metaalign_det.config import load_cfg
from metaalign_det.config_files import dotted_keys
from metaalign_det.engine.scaling import scale_to_processes
from metaalign_det.engine.schedules import build_lr_scheduler
from metaalign_det.errors import UserError
from tests.data.make_tiny_voc import make_tiny_voc

HEADLINE = "voc2watercolor_swda_meta.yaml"


def rates(cfg):
    """The learning rate of every iteration."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.SOLVER.BASE_LR)
    scheduler = build_lr_scheduler(cfg, optimizer)
    found = []
    for _ in range(cfg.SOLVER.MAX_ITER):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_the_headline_config_on_four_gpus():
    scaled = scale_to_processes(load_cfg(HEADLINE), 4)
    solver = scaled.SOLVER
    assert (solver.IMS_PER_BATCH, solver.IMS_PER_BATCH_TARGET) == (4, 4)
    assert solver.BASE_LR == pytest.approx(0.004)
    assert (solver.MAX_ITER, solver.STEPS, solver.WARMUP_ITERS) == (17500, (12500,), 25)
    assert (solver.CHECKPOINT_PERIOD, scaled.TEST.EVAL_PERIOD) == (2500, 2500)
    assert scaled.METAALIGN.META_LR * solver.BASE_LR == pytest.approx(0.01)  # alpha as it was


def test_on_one_process_or_without_a_reference_the_config_is_taken_as_it_is():
    cfg = load_cfg(HEADLINE)
    assert scale_to_processes(cfg, 1) is cfg
    cfg.SOLVER.REFERENCE_WORLD_SIZE = 0
    assert scale_to_processes(cfg, 4) is cfg


@pytest.mark.parametrize("config", ["voc2watercolor_aldi.yaml", "pacs/dannpe_meta.yaml"])
def test_scaling_there_and_back_gives_the_config_again(config):
    cfg = load_cfg(config)
    cfg.freeze()
    there = scale_to_processes(cfg, 4)
    back = dict(dotted_keys(scale_to_processes(there, 1)))
    assert there.is_frozen() and there.SOLVER.REFERENCE_WORLD_SIZE == 4
    for key, value in dotted_keys(cfg):
        if isinstance(value, float):
            assert back[key] == pytest.approx(value), key
        elif isinstance(value, int):
            assert abs(back[key] - value) <= 4, key  # whole steps, times four


def test_what_belongs_to_adaptation_keeps_its_place_in_the_data():
    cfg = load_cfg(
        "voc2watercolor_mean_teacher.yaml",
        ["METAALIGN.START_ITER", "100", "METAALIGN.WARMUP_ITERS", "1000", "VIS_PERIOD", "400",
         "MODEL.ALIGN.SCHEDULE_STEPS", "2000", "METAALIGN.BETA.LR", "0.1"],
    )  # fmt: skip
    scaled = scale_to_processes(cfg, 4)
    assert scaled.ADAPTATION.BURN_IN == scaled.EMA.START_ITER == 5000
    assert (scaled.METAALIGN.START_ITER, scaled.METAALIGN.WARMUP_ITERS) == (25, 250)
    assert (scaled.VIS_PERIOD, scaled.MODEL.ALIGN.SCHEDULE_STEPS) == (100, 500)
    assert scaled.TEACHER.START_ITER == 0  # the burn-in's end
    assert scaled.METAALIGN.BETA.LR == pytest.approx(0.4)
    # As much of the average is forgotten on the way through as many images.
    assert scaled.EMA.DECAY == pytest.approx(cfg.EMA.DECAY**4)
    assert 1 - scaled.ADAPTATION.GRADVAC_BETA == pytest.approx(0.99**4)


@pytest.mark.parametrize(("optimizer", "factor"), [("", 4), ("SGD", 4), ("ADAM", 2)])
def test_the_rate_of_discriminators_goes_by_their_optimizer(optimizer, factor):
    cfg = load_cfg(HEADLINE, ["SOLVER.DISCRIMINATOR.OPTIMIZER", optimizer])
    scaled = scale_to_processes(cfg, 4).SOLVER.DISCRIMINATOR.BASE_LR
    assert scaled == pytest.approx(factor * cfg.SOLVER.DISCRIMINATOR.BASE_LR)


@pytest.mark.parametrize("name", ["WarmupMultiStepLR", "WarmupCosineLR", "WarmupInverseLR"])
def test_the_learning_rate_falls_at_the_same_place_in_the_data(name):
    cfg = load_cfg(
        HEADLINE,
        ["SOLVER.LR_SCHEDULER_NAME", name, "SOLVER.MAX_ITER", "400", "SOLVER.STEPS", "(200,)",
         "SOLVER.BASE_LR_END", "0.0001", "SOLVER.INVERSE_GAMMA", "0.02"],
    )  # fmt: skip
    one, four = rates(cfg), rates(scale_to_processes(cfg, 4))
    assert four == pytest.approx([4 * rate for rate in one[::4]], rel=1e-6)


def test_periods_do_not_become_never():
    opts = ["TEST.EVAL_PERIOD", "1", "SOLVER.CHECKPOINT_PERIOD", "1", "METAALIGN.START_ITER", "1"]
    scaled = scale_to_processes(load_cfg(HEADLINE, opts), 4)
    assert scaled.TEST.EVAL_PERIOD == scaled.SOLVER.CHECKPOINT_PERIOD == 1
    assert scaled.METAALIGN.START_ITER == 1


@pytest.mark.parametrize("key", ["IMS_PER_BATCH", "IMS_PER_BATCH_TARGET"])
def test_a_batch_that_its_own_processes_could_not_share_is_refused(key):
    sizes = ["SOLVER.IMS_PER_BATCH", "2", "SOLVER.IMS_PER_BATCH_TARGET", "2"]
    cfg = load_cfg(HEADLINE, ["SOLVER.REFERENCE_WORLD_SIZE", "2", *sizes, f"SOLVER.{key}", "3"])
    with pytest.raises(UserError, match=f"SOLVER.{key} = 3 must be a multiple"):
        scale_to_processes(cfg, 4)


def test_two_processes_train_half_the_steps_on_twice_the_images(tmp_path):
    datasets = make_tiny_voc(tmp_path / "datasets")
    opts = (
        "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TRAIN", "(64,)", "MODEL.DEVICE", "cpu",
        "MODEL.MINI_RESNET.WIDTH", "8", "DATASETS.TRAIN", "('voc6_2007_trainval',)",
        "DATASETS.TARGET", "('watercolor_train',)", "DATASETS.TEST", "()",
        "SOLVER.REFERENCE_WORLD_SIZE", "1", "SOLVER.IMS_PER_BATCH", "1",
        "SOLVER.IMS_PER_BATCH_TARGET", "1", "SOLVER.MAX_ITER", "6", "SOLVER.STEPS", "(4,)",
        "OUTPUT_DIR", str(tmp_path / "out"),
    )  # fmt: skip
    words = ["--config-file", "mini/swda_meta.yaml", "--num-gpus", "2", "--dist-url", "auto"]
    done = subprocess.run(
        [sys.executable, "-m", "metaalign_det.cli", "train", *words, *opts],
        timeout=280, capture_output=True,
        text=True,
        env={**os.environ, "DETECTRON2_DATASETS": str(datasets)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert (config["SOLVER"]["MAX_ITER"], config["SOLVER"]["IMS_PER_BATCH"]) == (3, 2)
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "the config is written for 1 process(es) and there are 2" in log
    assert "SOLVER.BASE_LR 0.01 -> 0.02" in log
    assert (
        "every step takes 2 source and 2 target images over all processes: 1 and 1 in each of 2"
        in log
    )
    assert torch.load(tmp_path / "out" / "model_final.pth", weights_only=False)["iteration"] == 2
