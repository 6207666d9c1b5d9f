"""An image that cannot be read in the middle of a training."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal

import pytest
import torch
from detectron2.engine import HookBase

from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from tests.data.trees import make_tiny_voc
from tests.engine.tiny_training import everything, train, training_cfg


@pytest.fixture(autouse=True)
def datasets(tmp_path, monkeypatch):
    root = make_tiny_voc(tmp_path / "datasets")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    return root


def start(cfg, at, happen):
    """Train; ``happen(trainer)`` before iteration ``at`` loads its batch."""
    torch.manual_seed(1)
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=False)
    step = trainer.run_step

    def run_step():
        if trainer.iter == at:
            happen(trainer)
        step()

    trainer.run_step = run_step
    trainer.train()


@pytest.mark.parametrize("norm", ["FrozenBN", "BN"])
def test_a_data_folder_that_vanishes_costs_no_step(tmp_path, datasets, norm, caplog):
    opts = ("MODEL.RESNETS.NORM", norm, "SOLVER.CHECKPOINT_PERIOD", 100, "SOLVER.MAX_ITER", 5)
    cfg = training_cfg(tmp_path / "a", *opts)
    log = logging.getLogger("detectron2.engine.train_loop")
    log.addHandler(caplog.handler)
    try:
        with pytest.raises(UserError) as error:
            start(cfg, 3, lambda _: datasets.rename(tmp_path / "gone"))
    finally:
        log.removeHandler(caplog.handler)
    assert "\n" not in str(error.value)
    assert not [r for r in caplog.records if r.exc_info]
    (tmp_path / "gone").rename(datasets)
    trainer = train(cfg, resume=True)
    assert trainer.start_iter == 3
    torch.manual_seed(1)
    whole = everything(train(training_cfg(tmp_path / "b", *opts)))
    ended = everything(trainer)
    for key, value in whole.items():
        same = torch.equal(value, ended[key]) if torch.is_tensor(value) else value == ended[key]
        assert same, key


def test_a_loader_process_that_is_killed_is_one_sentence_and_costs_no_step(tmp_path):
    opts = ("DATALOADER.NUM_WORKERS", 1, "SOLVER.CHECKPOINT_PERIOD", 100, "SOLVER.MAX_ITER", 40)
    cfg = training_cfg(tmp_path / "a", *opts)

    def kill(trainer):
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(UserError, match="a process that loads images was killed"):
        start(cfg, 2, kill)
    # Batches that had been loaded ahead were still trained on.
    saved = sorted((tmp_path / "a").glob("model_*.pth"))
    assert len(saved) == 1 and int(saved[0].stem.removeprefix("model_")) >= 1


def test_a_second_process_that_dies_does_not_disturb_what_is_written_at_the_end(tmp_path):
    class SignalsLate(HookBase):
        """torch's handler, called once more for the dead, as a late signal would."""

        def after_train(self):
            signal.getsignal(signal.SIGCHLD)(signal.SIGCHLD, None)
            (tmp_path / "written").touch()

    def kill(trainer):
        trainer.register_hooks([SignalsLate()])
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    cfg = training_cfg(tmp_path / "a", "DATALOADER.NUM_WORKERS", 1, "SOLVER.MAX_ITER", 40)
    with pytest.raises(UserError, match="a process that loads images was killed"):
        start(cfg, 2, kill)
    assert (tmp_path / "written").exists()


def test_a_failure_in_the_first_step_saves_nothing(tmp_path, datasets):
    cfg = training_cfg(tmp_path / "a")
    with pytest.raises(UserError):
        start(cfg, 0, lambda trainer: trainer._trainer._peeked.clear() or datasets.rename("gone"))
    os.rename("gone", datasets)
    assert not list((tmp_path / "a").glob("*.pth"))


def test_a_failure_elsewhere_saves_nothing(tmp_path):
    cfg = training_cfg(tmp_path / "a", "SOLVER.CHECKPOINT_PERIOD", 100)

    def fail(trainer):
        raise RuntimeError("in the step")

    with pytest.raises(RuntimeError, match="in the step"):
        start(cfg, 2, fail)
    assert not list((tmp_path / "a").glob("*.pth"))
