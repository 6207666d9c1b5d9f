"""Whole trainings from a config: interrupted, resumed, on bad images, with impossible settings."""

from __future__ import annotations

import json
import logging
import os
import signal

import pytest
import torch

from metaalign_det.data import check_data
from metaalign_det.data.catalog import detection
from metaalign_det.data.catalog.reading import read_once
from metaalign_det.engine.trainer import AdaptationTrainer, check_batches
from metaalign_det.errors import UserError
from tests.data.trees import make_tiny_voc
from tests.engine.tiny_training import Interruption, everything, train, training_cfg

pytestmark = pytest.mark.usefixtures("tiny_datasets")


@pytest.mark.parametrize(
    "opts, seed",
    [
        ((), 3),
        ((), -1),
        (("METAALIGN.ENABLED", False), 3),
        (("MODEL.CHANNELS_LAST", True), 3),
        (("METAALIGN.ORDER", "exact", "METAALIGN.HVP", "recompute", "METAALIGN.ROLE", "task"), 3),
    ],
    ids=["first-alternate", "unseeded", "plain", "channels-last", "exact-recompute-task"],
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, opts, seed):
    cfg = training_cfg(tmp_path / "a", "MODEL.RESNETS.NORM", "BN", "SEED", seed, *opts)
    torch.manual_seed(1)
    with pytest.raises(Interruption):
        train(cfg, stop_at=3)
    torch.manual_seed(77)  # whatever happens between
    torch.rand(5)
    resumed = everything(train(cfg, resume=True))
    drawn = resumed["trainer/_trainer/seed"]
    whole_cfg = training_cfg(tmp_path / "b", "MODEL.RESNETS.NORM", "BN", "SEED", drawn, *opts)
    torch.manual_seed(1)
    whole = everything(train(whole_cfg))
    assert resumed.keys() == whole.keys()
    for key, value in whole.items():
        same = torch.equal(value, resumed[key]) if torch.is_tensor(value) else value == resumed[key]
        assert same, key


def test_an_interrupted_training_saves_the_step_it_was_in_and_continues_from_it(tmp_path):
    cfg = training_cfg(tmp_path / "a", "SOLVER.CHECKPOINT_PERIOD", 100)
    torch.manual_seed(1)
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=False)
    step = trainer.run_step

    def with_a_signal():
        if trainer.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        step()

    trainer.run_step = with_a_signal
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 3
    torch.manual_seed(1)
    whole = train(training_cfg(tmp_path / "b", "SOLVER.CHECKPOINT_PERIOD", 100))
    for (name, a), b in zip(resumed.model.state_dict().items(), whole.model.state_dict().values()):
        assert torch.equal(a, b), name


def test_resuming_a_finished_run_trains_no_further(tmp_path):
    cfg = training_cfg(tmp_path, "SOLVER.MAX_ITER", 2)
    first = everything(train(cfg))
    again = everything(train(cfg, resume=True))
    assert torch.equal(
        first["model/backbone.res3.0.conv1.weight"], again["model/backbone.res3.0.conv1.weight"]
    )


def test_resuming_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="--resume: there is no checkpoint in"):
        train(training_cfg(tmp_path / "nothing"), resume=True)


def test_a_run_reads_each_data_set_once(tmp_path, monkeypatch):
    """Checks, the second derivatives' trial batch, the loader, two evaluations."""
    read = []
    read_voc = detection.read_voc

    def counted(root, split, **kwargs):
        read.append((root.name, split))
        return read_voc(root, split, **kwargs)

    monkeypatch.setattr(detection, "read_voc", counted)
    opts = (
        "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 1, "METAALIGN.ORDER", "exact",
        "DATASETS.TEST", ("watercolor_test",), "TEST.ADAPTIVE_BN", 1,
        "MODEL.RESNETS.NORM", "BN",
    )  # fmt: skip
    cfg = training_cfg(tmp_path, *opts)
    with read_once():
        check_data(cfg)
        train(cfg)
    expected = [("VOC2007", "trainval"), ("VOC2012", "trainval"),
                ("watercolor", "test"), ("watercolor", "train")]  # fmt: skip
    assert sorted(read) == expected
    read.clear()
    train(training_cfg(tmp_path / "without_checks", *opts))
    assert sorted(read) == expected


def test_everything_that_looks_at_the_target_goes_on_without_a_bad_image(
    tmp_path, monkeypatch, caplog
):
    root = make_tiny_voc(tmp_path, images=4)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    (root / "watercolor" / "JPEGImages" / "000002.jpg").write_bytes(b"broken")
    cfg = training_cfg(
        tmp_path / "run", "DATALOADER.ON_BAD_IMAGE", "skip", "SOLVER.MAX_ITER", 2,
        "SELECTION.ENABLED", True, "VIS.TARGET_IMAGES", 2,
    )  # fmt: skip
    check_data(cfg)
    train(cfg)
    (entry,) = json.loads((tmp_path / "run" / "bad_images.json").read_text())
    assert entry["file"].endswith("000002.jpg") and entry["replaced"] == 0
    assert "1 image(s) could not be read; others took their place 0 time(s)" in caplog.text


TWO_DOMAINS = ("DATASETS.TRAIN_DOMAINS", (0, 1))
MMD = ("MODEL.ALIGN.METHOD", "mmd")


@pytest.mark.parametrize(
    "opts, message",
    [
        (("SOLVER.MAX_ITER", 0), "SOLVER.MAX_ITER must be >= 1, got 0; .* --eval-only"),
        (("SOLVER.ACCUMULATION_STEPS", 3), "SOLVER.ACCUMULATION_STEPS = 3"),
        (("SOLVER.ACCUMULATION_STEPS", 0), "SOLVER.ACCUMULATION_STEPS must be >= 1"),
        # One image of each domain, two micro-batches: each would hold a single domain.
        (
            ("SOLVER.ACCUMULATION_STEPS", 2, *TWO_DOMAINS),
            "IMS_PER_BATCH = 2 cannot be split over 2 source domains, .* a multiple of 4",
        ),
        (("SOLVER.ACCUMULATION_STEPS", 2, *MMD), "at least 2 images of each domain .* leaves 1"),
        (("SOLVER.IMS_PER_BATCH", 1, *MMD), "SOLVER.IMS_PER_BATCH = 1 .* leaves 1"),
        (("SOLVER.IMS_PER_BATCH_TARGET", 1, *MMD), "SOLVER.IMS_PER_BATCH_TARGET = 1 .* leaves 1"),
        (("MODEL.ALIGN.BETWEEN", "domains", *TWO_DOMAINS, *MMD), "leaves 1"),
    ],
)
def test_lengths_and_batches_that_cannot_be_are_named(tmp_path, opts, message):
    with pytest.raises(UserError, match=message):
        AdaptationTrainer(training_cfg(tmp_path, *opts))


def test_another_number_of_workers_scales_both_batches(tmp_path):
    opts = ("SOLVER.REFERENCE_WORLD_SIZE", 2, "SOLVER.IMS_PER_BATCH_TARGET", 6)
    cfg = training_cfg(tmp_path, *opts)
    scaled = AdaptationTrainer.auto_scale_workers(cfg, 4)
    assert (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.IMS_PER_BATCH_TARGET) == (4, 12)
    assert AdaptationTrainer.auto_scale_workers(cfg, 2) is cfg


def test_mmd_between_two_sources_as_one_domain_and_the_target_has_enough(tmp_path):
    check_batches(training_cfg(tmp_path, *TWO_DOMAINS, *MMD))


@pytest.mark.parametrize(
    "opts, message",
    [
        (("DATASETS.TARGET", ()), "aligns source and target, but DATASETS.TARGET is empty"),
        (
            ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.DA.CONTEXT", False),
            "GeneralizedRCNN cannot be adapted. Choose SWDARCNN",
        ),
    ],
)
def test_a_model_that_cannot_be_trained_here_is_named(tmp_path, opts, message):
    with pytest.raises(UserError, match=message):
        AdaptationTrainer(training_cfg(tmp_path, *opts))


def test_a_loss_that_is_not_finite_ends_training_in_one_sentence(tmp_path, caplog):
    trainer = AdaptationTrainer(training_cfg(tmp_path))
    trainer.resume_or_load(resume=False)
    step = trainer.run_step

    def poisoned():
        if trainer.iter == 1:
            trainer.model.roi_heads.box_predictor.cls_score.bias.data.fill_(float("nan"))
        step()

    trainer.run_step = poisoned
    log = logging.getLogger("detectron2.engine.train_loop")
    log.addHandler(caplog.handler)
    try:
        with pytest.raises(UserError, match="at iteration 1: .*loss_cls = nan"):
            trainer.train()
    finally:
        log.removeHandler(caplog.handler)
    assert not [r for r in caplog.records if r.exc_info], "a traceback in the log"
    assert (tmp_path / "model_0000000.pth").is_file()
