"""BatchNorm's running statistics of the target alone, whoever trains what in which role."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model

from metaalign_det.adaptation.registry import GRADIENT_SOURCES
from metaalign_det.errors import UserError
from tests.adaptation.harness import Harness, strong, trained, views
from tests.modeling.test_da_classifier import config as classifier_config
from tests.modeling.test_da_classifier import images as pictures
from tests.tiny import tiny_cfg, tiny_model

BN = ("MODEL.RESNETS.NORM", "BN")
TARGET = (*BN, "ADAPTATION.STATISTICS", "target", "DATASETS.TARGET", ("some",))
TEACHER = (
    "EMA.ENABLED", True, "TEACHER.ENABLED", True, "TEACHER.THRESHOLD", 0.0, "INPUT.VIEWS.TARGET",
    "both", "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0,
)  # fmt: skip
BURN_IN = ("ADAPTATION.BURN_IN", 5)
METAALIGN = ("ADAPTATION.COORDINATOR", "metaalign", "METAALIGN.META_LR", 20.0)


def backbone_statistics(model):
    return {k: v for k, v in model.named_buffers() if k.startswith("backbone") and "running" in k}


def after_one_pass(images, *opts, **kwargs):
    """Statistics of the harness's model once it has seen images alone."""
    model = tiny_model(tiny_cfg("MODEL.DA.GLOBAL.NORM", "", *opts, **kwargs))
    with torch.no_grad():
        model.backbone_features(images)
    return backbone_statistics(model)


def assert_close(found, wanted):
    assert wanted and found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    "opts",
    [
        *(("ADAPTATION.COORDINATOR", name) for name in sorted(GRADIENT_SOURCES)),
        (*METAALIGN, "METAALIGN.ROLE", "task"),
        (*METAALIGN, "METAALIGN.ROLE", "alignment", "METAALIGN.ORDER", "exact"),
        BURN_IN,
        TEACHER,
        (*TEACHER, "TEACHER.METHOD", "soft"),
        (*TEACHER, *METAALIGN),
    ],
    ids=lambda opts: " ".join(map(str, opts)),
)
def test_the_backbone_tracks_what_one_pass_of_the_target_would(opts):
    if opts[1] in ("mgda", "cagrad", "upgrad"):
        pytest.importorskip("torchjd")
    batch = views(0)
    h = trained(*TARGET, *opts, steps=1, batches=[batch])
    assert_close(backbone_statistics(h.model), after_one_pass(batch["target"], *BN))


@pytest.mark.parametrize("opts", [(), TEACHER, (*TEACHER, "TEACHER.METHOD", "soft")])
def test_without_alignment_the_weak_views_run_once_more(opts):
    batch = views(0)
    h = trained(*TARGET, *opts, steps=1, batches=[batch], discriminators=())
    assert_close(
        backbone_statistics(h.model), after_one_pass(batch["target"], *BN, discriminators=())
    )


@pytest.mark.parametrize("discriminators", [(), ("LOCAL", "GLOBAL")])  # the latter in burn-in
def test_without_alignment_and_weak_views_the_strong_ones_do(discriminators):
    b = views(0)
    b = {"source_strong": strong(b["source"]), "target_strong": b["target_strong"]}
    h = trained(*TARGET, *BURN_IN, steps=1, batches=[b], discriminators=discriminators)
    wanted = after_one_pass(b["target_strong"], *BN, discriminators=discriminators)
    assert_close(backbone_statistics(h.model), wanted)


@pytest.mark.parametrize("coordinator", ["joint", "metaalign"])
def test_a_classifier_tracks_the_target_alone(coordinator):
    options = ("MODEL.DIGITS_NET.NORM", "BN", "ADAPTATION.COORDINATOR", coordinator)
    target = ("ADAPTATION.STATISTICS", "target", "DATASETS.TARGET", ("some",))
    cfg = classifier_config("dann", *options, *target)
    batch = {"source": pictures(4), "target": pictures(4, label=False)}
    for x in batch["target"]:
        x["image"] = x["image"] * 0.1
    torch.manual_seed(0)
    model, alone = (build_model(cfg).double().train() for _ in range(2))
    alone.load_state_dict(model.state_dict())
    with torch.no_grad():
        alone.backbone_features(batch["target"])
    Harness(cfg, [batch], model).train(0, 1)
    assert_close(backbone_statistics(model), backbone_statistics(alone))


def test_statistics_of_both_are_of_other_images():
    batch = views(0)
    h = trained(*BN, steps=1, batches=[batch])
    of_target = after_one_pass(batch["target"], *BN)
    found = backbone_statistics(h.model)
    assert any(not torch.allclose(v, of_target[k], rtol=1e-3) for k, v in found.items())


def test_they_change_no_gradient():
    batches = [views(i) for i in range(2)]
    target, both = (trained(*opts, steps=2, batches=batches).model for opts in (TARGET, BN))
    others = dict(both.named_parameters())
    assert all(torch.equal(p, others[k]) for k, p in target.named_parameters())


def test_the_average_of_the_weights_has_them_too():
    batch = views(0)
    h = trained(*TARGET, *TEACHER, "EMA.DECAY", 0.0, steps=1, batches=[batch])
    average = h.source.learning.average.model
    assert_close(backbone_statistics(average), after_one_pass(batch["target"], *BN))


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        ((*TARGET, "ADAPTATION.STATISTICS", "source"), "ADAPTATION.STATISTICS.*source.*both"),
        ((*TARGET, "DATASETS.TARGET", ()), "target images: name some in DATASETS.TARGET"),
        ((*TARGET, "MODEL.RESNETS.NORM", "FrozenBN"), "no BatchNorm that is trained.*RESNETS.NORM"),
    ],
)
def test_what_cannot_be_tracked_is_said_before_training(opts, message):
    with pytest.raises(UserError, match=message):
        Harness(tiny_cfg(*opts), [])
