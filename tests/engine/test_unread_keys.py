"""A method that nothing reads is refused: the run would be taken for an adapted one."""

from __future__ import annotations

from pathlib import Path

import pytest
from detectron2.modeling import build_model

from metaalign_det.config import load_cfg
from metaalign_det.engine.trainer import check_model
from metaalign_det.errors import UserError
from tests.tiny import tiny_cfg, tiny_model

BN = ("MODEL.RESNETS.NORM", "BN")
SOURCE_ONLY = Path(__file__).parents[2] / "configs" / "mini_digits" / "source.yaml"


def test_a_detector_with_a_method_for_classifiers():
    cfg = tiny_cfg("DATASETS.TARGET", ("target",), discriminators=())
    model = tiny_model(cfg)
    check_model(cfg, model)
    cfg.MODEL.ALIGN.METHOD = "dann"
    with pytest.raises(UserError, match="MODEL.ALIGN.METHOD 'dann' is for classifiers.*MODEL.DA"):
        check_model(cfg, model)


@pytest.mark.parametrize("name", ["LOCAL", "GLOBAL", "INSTANCE"])
def test_a_classifier_with_a_discriminator_for_detectors(name):
    cfg = load_cfg(SOURCE_ONLY, ["MODEL.DEVICE", "cpu"])
    model = build_model(cfg)
    check_model(cfg, model)
    cfg.MODEL.DA[name].ENABLED = True
    with pytest.raises(UserError, match=f"MODEL.DA.{name}.ENABLED is for detectors.*ALIGN.METHOD"):
        check_model(cfg, model)


def test_class_odds_without_a_teacher():
    cfg = tiny_cfg("TEACHER.CLASS_ODDS.ENABLED", True, discriminators=())
    with pytest.raises(UserError, match="TEACHER.CLASS_ODDS.ENABLED .*TEACHER.ENABLED True"):
        check_model(cfg, tiny_model(cfg))


def test_task_oriented_alignment_of_nothing():
    cfg = load_cfg(SOURCE_ONLY, ["MODEL.DEVICE", "cpu", "MODEL.ALIGN.TASK_ORIENTED", "True"])
    with pytest.raises(UserError, match="MODEL.ALIGN.TASK_ORIENTED .*MODEL.ALIGN.METHOD 'none'"):
        check_model(cfg, build_model(cfg))


@pytest.mark.parametrize(
    ("opts", "discriminators"),
    [
        (BN, ("LOCAL",)),
        ((), ("GLOBAL",)),
        ((*BN, "INPUT.VIEWS.SOURCE", "strong", "INPUT.VIEWS.TARGET", "both"), ()),
        ((*BN, "ADAPTATION.STATISTICS", "target"), ()),
    ],
)
def test_detectron2s_precise_statistics_where_they_would_fail_later(opts, discriminators):
    some = ("DATASETS.TARGET", ("some",))
    cfg = tiny_cfg(*some, *opts, discriminators=discriminators, context=False)
    model = tiny_model(cfg)
    check_model(cfg, model)
    cfg.TEST.PRECISE_BN.ENABLED = True
    with pytest.raises(UserError, match="TEST.PRECISE_BN.ENABLED .*TEST.ADAPTIVE_BN"):
        check_model(cfg, model)
    without = tiny_cfg("TEST.PRECISE_BN.ENABLED", True, *some, *opts[:2], discriminators=())
    check_model(without, tiny_model(without))


def test_a_model_of_the_users_own_may_read_any_of_them():
    cfg = tiny_cfg("MODEL.ALIGN.METHOD", "dann", discriminators=())
    model = tiny_model(cfg)
    cfg.MODEL.META_ARCHITECTURE = "MyDetector"
    cfg.MODEL.DA.LOCAL.ENABLED = True
    check_model(cfg, model)
