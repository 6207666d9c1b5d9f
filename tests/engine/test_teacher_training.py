"""Whole trainings with a teacher: evaluated beside the student, saved, resumed, started from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from metaalign_det.engine.checkpoint import load_weights
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from tests.engine.tiny_training import Interruption, train, training_cfg

TEACHER = (
    "EMA.ENABLED", True, "EMA.DECAY", 0.5, "TEACHER.ENABLED", True, "TEACHER.THRESHOLD", 0.05,
    "INPUT.VIEWS.SOURCE", "strong", "INPUT.VIEWS.TARGET", "both", "METAALIGN.META_LR", 2.0,
    "SOLVER.MAX_ITER", 4, "SOLVER.STEPS", (3,), "TEACHER.CLASS_ODDS.ENABLED", True,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _datasets(datasets, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))


def test_student_and_teacher_are_evaluated_and_both_are_in_the_checkpoint(tmp_path):
    cfg = training_cfg(tmp_path, *TEACHER, "DATASETS.TEST", ("watercolor_test",))
    trainer = train(cfg)
    results = trainer._last_eval_results
    assert results["voc"].keys() == results["teacher"]["voc"].keys()
    assert Path(tmp_path, "teacher", "inference", "watercolor_test").is_dir()
    last = [json.loads(x) for x in Path(tmp_path, "metrics.json").read_text().splitlines()][-1]
    assert {"voc/AP50_11pt", "teacher/voc/AP50_11pt"} <= last.keys()
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)
    average = trainer._trainer.gradient_source.learning.average
    for name, value in average.model.state_dict().items():
        assert torch.equal(saved["teacher"]["model"][name], value)
    assert any(not torch.equal(saved["model"][k], v) for k, v in saved["teacher"]["model"].items())


def test_a_run_that_was_interrupted_ends_like_one_that_was_not(tmp_path):
    torch.manual_seed(0)
    whole = train(training_cfg(tmp_path / "whole", *TEACHER))
    torch.manual_seed(0)
    cfg = training_cfg(tmp_path / "cut", *TEACHER)
    with pytest.raises(Interruption):
        train(cfg, stop_at=2)
    resumed = train(cfg, resume=True)
    for a, b in zip(*(t._trainer.gradient_source.learning.average.model.state_dict().values()
                      for t in (whole, resumed))):  # fmt: skip
        assert torch.equal(a, b)
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values()):
        assert torch.equal(a, b)


def test_a_training_can_start_from_the_teachers_weights(tmp_path):
    first = train(training_cfg(tmp_path / "first", *TEACHER))
    path = str(tmp_path / "first" / "model_final.pth")
    second = AdaptationTrainer(training_cfg(tmp_path / "second"))
    load_weights(second.checkpointer, f"{path}?of=teacher")
    average = first._trainer.gradient_source.learning.average
    for name, value in average.model.state_dict().items():
        assert torch.equal(second.model.state_dict()[name], value), name


def test_weights_of_a_teacher_that_there_is_not_are_a_clear_error(tmp_path):
    train(training_cfg(tmp_path / "first", "SOLVER.MAX_ITER", 1, "SOLVER.STEPS", ()))
    second = AdaptationTrainer(training_cfg(tmp_path / "second"))
    with pytest.raises(UserError, match="has no teacher.*EMA.ENABLED"):
        load_weights(second.checkpointer, str(tmp_path / "first/model_final.pth?of=teacher"))


@pytest.mark.parametrize("views", [("strong", "weak"), ("weak", "strong"), ("both", "strong")])
def test_alignment_sees_both_domains_under_the_same_views(tmp_path, views):
    source, target = views
    cfg = training_cfg(tmp_path, "INPUT.VIEWS.SOURCE", source, "INPUT.VIEWS.TARGET", target)
    with pytest.raises(UserError, match=f"set INPUT.VIEWS.TARGET '{source}' or 'both'"):
        AdaptationTrainer(cfg)
