"""Every YAML file loads and builds its model, its optimizer and what computes its gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model

import metaalign_det.modeling  # noqa: F401  (registers)
from metaalign_det.adaptation.contract import AdaptableModel
from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.adaptation.stage_groups import build_stage_groups
from metaalign_det.config import load_cfg
from metaalign_det.engine.optimizers import build_optimizer
from metaalign_det.engine.schedules import build_lr_scheduler
from metaalign_det.engine.unread_keys import check_unread_keys

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_it_builds(path):
    cfg = load_cfg(path)
    cfg.MODEL.DEVICE = "meta"  # shapes and names without the seconds that weights take
    with torch.device("meta"):
        model = build_model(cfg)
    assert isinstance(model, AdaptableModel)
    check_unread_keys(cfg)
    optimizer = build_optimizer(cfg, model)
    trained = {id(p) for g in optimizer.param_groups for p in g["params"]}
    assert trained == {id(p) for p in model.parameters() if p.requires_grad}
    build_lr_scheduler(cfg, optimizer)
    source = build_gradient_source(cfg, model)
    assert (source.learning.teacher is not None) == cfg.TEACHER.ENABLED
    if cfg.METAALIGN.ENABLED:
        in_scope = set(build_stage_groups(cfg, model).scope)
        backbone = {
            n
            for n, p in model.named_parameters()
            if p.requires_grad and n.startswith("backbone.") and "linear" not in n
        }
        assert backbone <= in_scope, "a trainable layer of the backbone would not look ahead"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_a_file_that_stands_on_no_other_says_why(path):
    text = path.read_text()
    assert "_BASE_" in text or text.startswith("#"), "a base file begins with a comment"


def test_everything_this_package_adds_is_off_by_default():
    cfg = load_cfg()
    assert not cfg.METAALIGN.ENABLED and cfg.DATASETS.TARGET == ()
    assert not any(cfg.MODEL.DA[k].ENABLED for k in ("LOCAL", "GLOBAL", "INSTANCE"))
    assert cfg.SOLVER.DISCRIMINATOR.OPTIMIZER == "" and cfg.SOLVER.HEAD_LR_FACTOR == 1.0
