"""Configs that say "as the authors ran it" hold the values of the authors' public code.

Saito et al., CVPR 2019 and Wei et al., CVPR 2021 (docs/method.md has the method; the values are
those that their ResNet-101, VGG16 and Office-Home commands load).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from metaalign_det.config import load_cfg

CONFIGS = Path(__file__).parents[1] / "configs"
RESNET = [
    f"voc2{target}_{arm}.yaml"
    for target in ("watercolor", "clipart", "comic")
    for arm in ("source", "wda", "swda", "swda_meta", "oracle")
]
VGG16 = [
    "voc2watercolor_swda_vgg16.yaml",
    "voc2watercolor_swda_vgg16_meta.yaml",
    "sim10k2cityscapes_swda_meta.yaml",
    "kitti2cityscapes_swda_meta.yaml",
    "cityscapes2foggy_swda_meta.yaml",
]


@pytest.mark.parametrize("name", [*RESNET, *VGG16])
def test_detection(name):
    cfg = load_cfg(CONFIGS / name)
    vgg16 = name in VGG16
    solver = cfg.SOLVER
    decay, bias_factor = (5e-4, 2.0) if vgg16 else (1e-4, 1.0)
    assert decay == solver.WEIGHT_DECAY and bias_factor == solver.BIAS_LR_FACTOR
    assert solver.WEIGHT_DECAY_BIAS == 0.0
    assert (solver.BASE_LR, solver.MOMENTUM, solver.GAMMA) == (1e-3, 0.9, 0.1)
    assert solver.STEPS == (50000,)
    assert (solver.IMS_PER_BATCH, solver.IMS_PER_BATCH_TARGET) == (1, 1)
    assert cfg.INPUT.MIN_SIZE_TRAIN == (600,) and cfg.INPUT.MIN_SIZE_TEST == 600
    assert cfg.INPUT.MAX_SIZE_TRAIN >= 10000, "their training images have no limit on the long side"
    assert cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST == 0.0
    weight = 0.1 if "2cityscapes" in name else 1.0  # data sets of cars
    assert cfg.MODEL.DA.LOCAL.LAMBDA == cfg.MODEL.DA.GLOBAL.LAMBDA == weight
    assert (cfg.MODEL.DA.LOCAL.LOSS, cfg.MODEL.DA.GLOBAL.LOSS) == ("least_squares", "focal")
    assert cfg.MODEL.DA.GLOBAL.GAMMA == 5.0 and cfg.MODEL.DA.GLOBAL.NORM == "BN"
    if not vgg16:
        assert cfg.MODEL.RESNETS.DEPTH == 101 and cfg.MODEL.RESNETS.STRIDE_IN_1X1
    if "meta" in name:
        check_lookahead(cfg.METAALIGN, meta_lr=10.0)
        assert cfg.METAALIGN.BETA.MODE == "frozen"


@pytest.mark.parametrize("name", ["office_home/gvb_meta.yaml", "office31/dannpe_meta.yaml"])
def test_classification(name):
    cfg = load_cfg(CONFIGS / name)
    solver = cfg.SOLVER
    assert (solver.BASE_LR, solver.INVERSE_GAMMA, solver.INVERSE_POWER) == (1e-3, 1e-3, 0.75)
    assert (solver.HEAD_LR_FACTOR, solver.WEIGHT_DECAY, solver.NESTEROV) == (10.0, 1e-3, True)
    assert (solver.IMS_PER_BATCH, solver.IMS_PER_BATCH_TARGET) == (24, 24)
    assert solver.MAX_ITER == 10002
    check_lookahead(cfg.METAALIGN, meta_lr=100.0)
    assert cfg.METAALIGN.HEAD_FACTOR == 10.0


def check_lookahead(node, meta_lr: float) -> None:
    assert node.ENABLED and (node.ORDER, node.ROLE) == ("first", "alternate")
    assert node.FIRST_ROLE == "task" and node.SCOPE == "all"
    assert node.ALPHA == "lr" and meta_lr == node.META_LR


def test_adaptive_teacher():
    """Li et al., CVPR 2022."""
    cfg = load_cfg(CONFIGS / "voc2watercolor_adaptive_teacher.yaml")
    assert (cfg.TEACHER.METHOD, cfg.TEACHER.THRESHOLD, cfg.TEACHER.WEIGHT) == ("hard", 0.8, 1.0)
    assert not cfg.TEACHER.BOX_LOSSES and cfg.EMA.DECAY == 0.9996
    assert cfg.MODEL.DA.GLOBAL.LAMBDA == 0.1 and not cfg.MODEL.DA.LOCAL.ENABLED
    # A copy of the student until the burn-in ends.
    assert cfg.ADAPTATION.BURN_IN == cfg.EMA.START_ITER > 0


def test_aldi():
    """Kay et al., TMLR 2025: ALDI++."""
    cfg = load_cfg(CONFIGS / "voc2watercolor_aldi.yaml")
    assert (cfg.TEACHER.METHOD, cfg.TEACHER.THRESHOLD) == ("soft", 0.8)
    assert cfg.INPUT.VIEWS.SOURCE == "strong" and cfg.INPUT.VIEWS.TARGET == "both"
    strong = cfg.INPUT.STRONG
    assert (strong.BRIGHTNESS, strong.CONTRAST, strong.SATURATION) == (0.4, 0.4, 0.4)
    assert (strong.COLOR_PROB, strong.GREY_PROB, strong.BLUR_PROB) == (0.8, 0.2, 0.5)
    assert (strong.MASK_RATIO, strong.MASK_BLOCK) == (0.5, 32)
    assert strong.ERASE_DOMAINS == ("source",) and strong.MASK_DOMAINS == ("target",)
    assert not any(cfg.MODEL.DA[k].ENABLED for k in ("LOCAL", "GLOBAL", "INSTANCE"))
    # The average is kept through the burn-in.
    assert cfg.ADAPTATION.BURN_IN > cfg.EMA.START_ITER == 0


@pytest.mark.parametrize(
    ("name", "difference"),
    [
        ("Base-SWDA-C4.yaml", "3x3 convolutions"),
        ("Base-SWDA-C4.yaml", "warm-up"),
        ("Base-SWDA-VGG16.yaml", "conv3_2"),
        ("voc2watercolor_swda_vgg16.yaml", "conv3_2"),
        ("sim10k2cityscapes_source.yaml", "never scaled"),
        ("voc2clipart_source.yaml", "the same ones"),
        ("voc2watercolor_adaptive_teacher.yaml", "larger batches"),
        ("voc2watercolor_aldi.yaml", "restart the student"),
        ("office_home/Base.yaml", "joint batch"),
        ("office_home/Base.yaml", "target test labels"),
        ("office_home/gvb_meta.yaml", "once more"),
    ],
)
def test_what_differs_is_named_in_the_config(name, difference):
    lines = (CONFIGS / name).read_text(encoding="utf-8").splitlines()
    comments = " ".join(x.partition("#")[2].strip() for x in lines if "#" in x)
    assert difference in re.sub(r"\s+", " ", comments)
