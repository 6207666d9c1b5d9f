"""A misspelled part of the model is told with what was meant, before anything is built."""

from __future__ import annotations

import pytest

import metaalign_det.modeling  # noqa: F401  (registers)
from metaalign_det.config import load_cfg
from metaalign_det.errors import UserError
from metaalign_det.modeling.names import check_names
from tests.test_configs import CONFIGS, FILES


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.BACKBONE.NAME", "build_mini_resnet_bakbone", "'build_mini_resnet_backbone'"),
        ("MODEL.META_ARCHITECTURE", "SWDARCN", "'SWDARCNN'"),
        ("MODEL.ROI_HEADS.NAME", "ContextRoiHeads", "did you mean '"),
        ("MODEL.BACKBONE.NAME", "vgg", "is not registered; there are .*build_resnet_backbone"),
        ("MODEL.BACKBONE.NAME", "build_patch_backbone", "where METAALIGN_PLUGINS names its module"),
        ("MODEL.RESNETS.DEPTH", "51", "DEPTH 51: there are ResNets of depth 18, 34, 50, 101, 152"),
    ],
)
def test_a_name_that_does_not_exist_is_an_error(key, value, message):
    cfg = load_cfg("voc2watercolor_swda_meta.yaml", [key, value])
    with pytest.raises(UserError, match=message) as error:
        check_names(cfg)
    assert key in str(error.value) and value in str(error.value)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(CONFIGS)))
def test_every_config_of_the_package_names_what_exists(path):
    check_names(load_cfg(path))


def test_a_depth_that_a_backbone_does_not_read_is_not_looked_at():
    check_names(load_cfg("mini/swda.yaml", ["MODEL.RESNETS.DEPTH", "7"]))
