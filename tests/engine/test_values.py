"""Values that cannot be are named before a training, and 0 checkpoints between are none."""

from __future__ import annotations

import pytest

from metaalign_det.cli.__main__ import main
from metaalign_det.engine.schedules import build_lr_scheduler
from metaalign_det.engine.values import check_values
from metaalign_det.errors import UserError
from tests.engine.small import SmallTrainer, small_cfg
from tests.engine.tiny_training import TINY, train, training_cfg

CLIP = ("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "bogus")


@pytest.mark.parametrize(
    "opts, message",
    [
        (("SOLVER.CHECKPOINT_PERIOD", -1), "SOLVER.CHECKPOINT_PERIOD -1: must be at least 0"),
        (("DATALOADER.NUM_WORKERS", -1), "DATALOADER.NUM_WORKERS -1: must be at least 0"),
        (("TEST.BATCH_SIZE", 0), "TEST.BATCH_SIZE 0: must be at least 1"),
        (("TEST.ADAPTIVE_BN", -1), "TEST.ADAPTIVE_BN -1: must be at least 0"),
        (("TEST.ADAPTIVE_BN", 50), "TEST.ADAPTIVE_BN needs images: .*DATASETS.TARGET"),
        (("SEED", 99999999999), "SEED 99999999999: must be at most 4294967295"),
        (("SOLVER.WARMUP_METHOD", "quad"), "SOLVER.WARMUP_METHOD 'quad': .* linear, constant"),
        (("SOLVER.CLIP_GRADIENTS.ENABLED", True, *CLIP), "CLIP_TYPE 'bogus': .* value, norm"),
    ],
)
def test_a_value_that_cannot_be_is_named(opts, message):
    with pytest.raises(UserError, match=message):
        check_values(small_cfg("out", *opts))


@pytest.mark.parametrize(
    "opts",
    [
        (),
        CLIP,  # nothing is clipped
        ("SEED", -1),
        ("SEED", 2**32 - 1),
        ("TEST.ADAPTIVE_BN", 50, "DATASETS.TARGET", ("some",)),
        ("SOLVER.CHECKPOINT_PERIOD", 0, "DATALOADER.NUM_WORKERS", 0, "TEST.EVAL_PERIOD", 0),
    ],
)
def test_what_can_be_passes(opts):
    check_values(small_cfg("out", *opts))


def test_the_command_names_it_before_anything_is_written(tmp_path, capsys):
    output = tmp_path / "run"
    opts = ("DATALOADER.NUM_WORKERS", "-1", "OUTPUT_DIR", str(output))
    assert main(["train", "--", *TINY, *opts]) == 2
    assert capsys.readouterr().err.startswith("error: DATALOADER.NUM_WORKERS -1")
    assert not output.exists()


@pytest.mark.parametrize("name", ["WarmupInverseLR", "WarmupMultiStepLR"])
def test_an_unknown_warm_up_is_named_by_every_schedule(name):
    cfg = small_cfg("out", "SOLVER.LR_SCHEDULER_NAME", name, "SOLVER.WARMUP_METHOD", "quad")
    from torch import nn

    optimizer = SmallTrainer(nn.Linear(3, 1), 0).optimizer
    with pytest.raises(UserError, match="SOLVER.WARMUP_METHOD 'quad'"):
        build_lr_scheduler(cfg, optimizer)


@pytest.mark.usefixtures("tiny_datasets")
def test_no_checkpoint_period_is_one_checkpoint_at_the_end(tmp_path):
    train(training_cfg(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 0, "SOLVER.MAX_ITER", 2))
    assert [file.name for file in tmp_path.glob("model_*.pth")] == ["model_final.pth"]
