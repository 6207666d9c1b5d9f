"""VGG16 and the mini ResNet: shapes, freezing, stage groups, and torchvision's weights."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torchvision
from detectron2.config import get_cfg
from detectron2.layers import FrozenBatchNorm2d, ShapeSpec
from detectron2.modeling import build_backbone
from detectron2.modeling.backbone.resnet import build_resnet_backbone
from detectron2.modeling.roi_heads import build_box_head
from torch import nn

from metaalign_det.config import add_metaalign_config
from metaalign_det.coordination.stages import StageGroups
from metaalign_det.errors import UserError
from metaalign_det.modeling.backbone import (
    VGG16,
    convert_torchvision_vgg16,
    is_torchvision_vgg16,
    temper_random_weights,
)
from metaalign_det.modeling.stages import backbone_stages


def config(name: str, **resnets):
    cfg = get_cfg()
    add_metaalign_config(cfg)
    cfg.MODEL.BACKBONE.NAME = name
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    for key, value in resnets.items():
        cfg.MODEL.RESNETS[key] = value
    return cfg


def mini(width: int = 8, freeze_at: int = 0, outputs=("res2", "res3", "res4"), norm="BN"):
    cfg = config("build_mini_resnet_backbone", OUT_FEATURES=list(outputs), NORM=norm)
    cfg.MODEL.MINI_RESNET.WIDTH = width
    cfg.MODEL.BACKBONE.FREEZE_AT = freeze_at
    return build_backbone(cfg)


# ---- mini ResNet --------------------------------------------------------------------------------


def test_mini_outputs_have_the_announced_channels_and_strides():
    net = mini(width=8)
    out = net(torch.randn(2, 3, 64, 96))
    for name, shape in net.output_shape().items():
        assert out[name].shape == (2, shape.channels, 64 // shape.stride, 96 // shape.stride)
    assert {k: (s.channels, s.stride) for k, s in net.output_shape().items()} == {
        "res2": (8, 4),
        "res3": (16, 8),
        "res4": (32, 16),
    }


def test_mini_at_width_64_is_the_c4_part_of_detectron2s_resnet18():
    cfg = config(
        "build_resnet_backbone",
        DEPTH=18,
        RES2_OUT_CHANNELS=64,
        OUT_FEATURES=["res2", "res3", "res4"],
        NORM="BN",
    )
    theirs = build_resnet_backbone(cfg, ShapeSpec(channels=3)).eval()
    ours = mini(width=64).eval()
    ours.load_state_dict(theirs.state_dict())  # the same names and shapes, or it raises
    x = torch.randn(1, 3, 64, 64)
    for name, value in theirs(x).items():
        assert torch.equal(ours(x)[name], value)


def test_mini_freezes_stages_as_any_resnet():
    frozen = {
        n.split(".")[0] for n, p in mini(freeze_at=2).named_parameters() if not p.requires_grad
    }
    assert frozen == {"stem", "res2"}


@pytest.mark.parametrize(
    ("norm", "kind"),
    [("BN", nn.BatchNorm2d), ("FrozenBN", FrozenBatchNorm2d), ("GN", nn.GroupNorm)],
)
def test_mini_norm_comes_from_the_config(norm, kind):
    net = mini(width=32, norm=norm)
    assert isinstance(net.stem.conv1.norm, kind)
    assert isinstance(net.res4[1].conv2.norm, kind)


def test_mini_trained_with_batchnorm_is_the_same_function_when_frozen():
    trained, frozen = mini(norm="BN"), mini(norm="FrozenBN")
    for _ in range(3):
        trained(torch.randn(4, 3, 64, 64) * 2 + 1)
    frozen.load_state_dict(trained.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    torch.testing.assert_close(frozen(x)["res4"], trained.eval()(x)["res4"])


def test_mini_stage_groups_cover_every_parameter_once():
    net = mini()
    params = {f"backbone.{n}": p for n, p in net.named_parameters()}
    groups = StageGroups.from_prefixes(backbone_stages(net), params)
    assert groups.names == ("stem+res2", "res3", "res4")
    assert sorted(groups.scope) == sorted(params)


def test_mini_errors_name_the_key():
    with pytest.raises(UserError, match=r"OUT_FEATURES.*res5"):
        mini(outputs=["res5"])
    with pytest.raises(UserError, match=r"MINI_RESNET\.WIDTH"):
        mini(width=0)


@pytest.mark.parametrize(
    ("name", "node", "settings", "message"),
    [
        (
            "mini_resnet",
            "RESNETS",
            {"NORM": "GN"},
            r"8 channels; set .*WIDTH, now 8",
        ),
        ("digits", "DIGITS_NET", {"NORM": "GN"}, r"48 channels; make .*CHANNELS"),
        ("efficientnet_lite", "EFFICIENTNET_LITE", {"NORM": "GN"}, r"16, 24, .* channels; take"),
        ("mini_resnet", "RESNETS", {"NORM": "XN"}, r"'XN': must be .*FrozenBN"),
        ("digits", "DIGITS_NET", {"NORM": "XN"}, r"'XN': must be .*FrozenBN"),
    ],
)
def test_a_norm_that_does_not_exist_or_fit_the_width_is_named(name, node, settings, message):
    cfg = config(f"build_{name}_backbone")
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4"]
    cfg.MODEL.MINI_RESNET.WIDTH = 8
    cfg.MODEL[node].update(settings)
    with pytest.raises(UserError, match=rf"^MODEL\.{node}\.NORM .*{message}"):
        build_backbone(cfg)


@pytest.mark.parametrize(("width", "fits"), [(32, True), (64, True), (48, False), (16, False)])
def test_group_norm_takes_widths_that_its_32_groups_divide(width, fits):
    with nullcontext() if fits else pytest.raises(UserError, match="GroupNorm has 32 groups"):
        mini(width=width, norm="GN")


# ---- random weights under frozen BatchNorm ------------------------------------------------------


def thin_resnet101(norm: str) -> nn.Module:
    cfg = config(
        "build_resnet_backbone",
        DEPTH=101,
        STEM_OUT_CHANNELS=8,
        RES2_OUT_CHANNELS=32,
        WIDTH_PER_GROUP=8,
        OUT_FEATURES=["res4"],
        NORM=norm,
    )
    return build_backbone(cfg)


def test_random_weights_under_frozen_norms_are_brought_to_scale():
    net = thin_resnet101("FrozenBN")
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = net(x)["res4"].std()
        assert temper_random_weights(net) == 3 + 4 + 23
        after = net(x)["res4"].std()
    assert before > 1e3
    assert 0.1 < after < 20


def test_pixels_not_divided_by_their_deviation_are_scaled_in_the_stem():
    model = nn.Module()
    model.backbone = thin_resnet101("FrozenBN")
    model.register_buffer("pixel_std", torch.tensor([57.0, 57.0, 57.0]))
    temper_random_weights(model)
    assert (model.backbone.stem.conv1.norm.weight == 1).all()
    model.pixel_std.fill_(1)
    temper_random_weights(model)
    torch.testing.assert_close(model.backbone.stem.conv1.norm.weight, torch.full((8,), 1 / 57))


def test_trainable_norms_are_left_alone():
    net = mini(norm="BN")
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert temper_random_weights(net) == 0
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


# ---- VGG16 --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torchvision_vgg() -> nn.Module:
    torch.manual_seed(3)
    net = torchvision.models.vgg16(weights=None, init_weights=False).eval()  # its own is slow
    for layer in net.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return net


def vgg_head(pool: int = 7, fc_dim: int = 4096, dropout: float = 0.5) -> nn.Module:
    cfg = config("build_vgg16_backbone")
    cfg.MODEL.ROI_BOX_HEAD.NAME = "VGG16BoxHead"
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = fc_dim
    cfg.MODEL.VGG16.DROPOUT = dropout
    return build_box_head(cfg, ShapeSpec(channels=512, height=pool, width=pool))


def test_vgg_outputs_have_the_announced_channels_and_strides():
    net = build_backbone(config("build_vgg16_backbone"))
    out = net(torch.randn(2, 3, 35, 64))
    assert {k: (s.channels, s.stride) for k, s in net.output_shape().items()} == {
        "conv3": (256, 4),
        "conv4": (512, 8),
        "conv5": (512, 16),
    }
    for name, shape in net.output_shape().items():
        assert out[name].shape == (2, shape.channels, 35 // shape.stride, 64 // shape.stride)


def test_vgg_with_converted_weights_computes_what_torchvision_computes(torchvision_vgg):
    converted = convert_torchvision_vgg16(torchvision_vgg.state_dict())
    with torch.device("meta"):
        net, head = VGG16(out_features=("conv5",)), vgg_head().eval()
    for module, prefix in ((net, "backbone."), (head, "roi_heads.box_head.")):
        part = {k.removeprefix(prefix): v for k, v in converted.items() if k.startswith(prefix)}
        module.load_state_dict(part, assign=True)
    x = torch.randn(1, 3, 64, 64)
    pooled = torch.randn(2, 512, 7, 7)
    with torch.no_grad():
        conv5, theirs = net(x)["conv5"], torchvision_vgg.features[:30](x)
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(conv5, theirs)
        theirs = torchvision_vgg.classifier[:6](pooled.flatten(1))
        assert theirs.abs().max() > 0.1
        torch.testing.assert_close(head(pooled), theirs)
    assert head.output_shape.channels == theirs.shape[1]
    # Nothing is left over, nothing is invented.
    assert len(converted) == len(net.state_dict()) + len(head.state_dict())


def test_vgg_conversion_knows_its_file(torchvision_vgg):
    state = torchvision_vgg.state_dict()
    without_classifier = {k: v for k, v in state.items() if k.startswith("features.")}
    assert is_torchvision_vgg16(without_classifier)
    assert all(k.startswith("backbone.") for k in convert_torchvision_vgg16(without_classifier))
    vgg = torchvision.models.vgg
    with_norm = vgg.make_layers(vgg.cfgs["D"], batch_norm=True).state_dict(prefix="features.")
    with pytest.raises(UserError, match="without BatchNorm"):
        convert_torchvision_vgg16(with_norm)


def test_vgg_freezes_from_the_input_on():
    cfg = config("build_vgg16_backbone")
    cfg.MODEL.BACKBONE.FREEZE_AT = 2
    net = build_backbone(cfg)
    frozen = {n.split(".")[0] for n, p in net.named_parameters() if not p.requires_grad}
    assert frozen == {"conv1", "conv2"}
    with pytest.raises(UserError, match="FREEZE_AT"):
        VGG16(freeze_at=6)


def test_vgg_stage_groups_cover_every_parameter_once():
    net = VGG16()
    params = {f"backbone.{n}": p for n, p in net.named_parameters()}
    groups = StageGroups.from_prefixes(backbone_stages(net), params)
    assert groups.names == ("conv1+conv2", "conv3", "conv4", "conv5")
    assert sorted(groups.scope) == sorted(params)


def test_vgg_stage_groups_drop_what_is_frozen():
    net = VGG16(freeze_at=2)
    params = {f"backbone.{n}": p for n, p in net.named_parameters()}
    groups = StageGroups.from_prefixes(backbone_stages(net), params, drop_frozen=True)
    assert groups.names == ("conv3", "conv4", "conv5")


def test_vgg_head_drops_out_in_training_only():
    head = vgg_head(pool=2, fc_dim=64, dropout=0.5)
    x = torch.randn(4, 512, 2, 2)
    assert not torch.equal(head(x), head(x))
    head.eval()
    assert torch.equal(head(x), head(x))
    with pytest.raises(UserError, match="DROPOUT"):
        vgg_head(pool=2, fc_dim=8, dropout=1.0)


def test_vgg_refuses_an_output_that_it_does_not_have():
    with pytest.raises(UserError, match="conv6"):
        VGG16(out_features=("conv6",))
