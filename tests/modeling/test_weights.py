from __future__ import annotations

import logging

import pytest
import torch
import torchvision
from torch import nn

from metaalign_det.config import load_cfg
from metaalign_det.errors import UserError
from metaalign_det.modeling.weights import (
    convert_torchvision_resnet,
    is_foreign_checkpoint,
    load_pretrained,
)
from tests.modeling.test_da_classifier import config, images
from tests.test_configs import CONFIGS


def resnet_model(depth: int, *options):
    from detectron2.modeling import build_model

    return build_model(
        config(
            "none",
            *("MODEL.BACKBONE.NAME", "build_resnet_backbone", "MODEL.BACKBONE.FREEZE_AT", 0),
            *("MODEL.RESNETS.DEPTH", depth, "MODEL.RESNETS.OUT_FEATURES", "('res5',)"),
            *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64 if depth < 50 else 256),
            *("MODEL.RESNETS.STRIDE_IN_1X1", False, "MODEL.RESNETS.NORM", "BN"),
            *("MODEL.CLASSIFIER.IN_FEATURE", "res5", "INPUT.FORMAT", "RGB"),
            *("MODEL.PIXEL_STD", "[58.395, 57.12, 57.375]"),
            *options,
        )
    )


def saved(depth: int, path, seed: int = 0):
    torch.manual_seed(seed)
    net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # fresh ones would hide a mix-up
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    torch.save(net.state_dict(), path)
    return net


@pytest.mark.parametrize("depth", [18, 50])
@pytest.mark.parametrize("norm", ["BN", "FrozenBN"])
def test_a_converted_resnet_computes_what_torchvision_computes(depth, norm, tmp_path):
    path = tmp_path / "resnet.pth"
    net = saved(depth, path).double().eval()
    model = resnet_model(depth, "MODEL.RESNETS.NORM", norm)
    report = load_pretrained(model, path)
    assert not report.missing
    assert {"fc.weight", "fc.bias"} <= set(report.skipped)

    model = model.double().eval()
    x = torch.stack([x["image"] for x in images(2, side=48)])
    net.fc = nn.Identity()
    found = model.backbone(x)["res5"].mean(dim=(2, 3))
    assert torch.allclose(found, net(x), rtol=1e-6, atol=1e-9)


def test_every_name_is_converted():
    for depth in (18, 34, 50, 101):
        with torch.device("meta"):
            net = getattr(torchvision.models, f"resnet{depth}")(weights=None)
        converted = convert_torchvision_resnet(net.state_dict())
        assert len(converted) == len(net.state_dict()) - 2  # all but fc
    assert "backbone.res3.0.shortcut.norm.running_mean" in converted
    assert "backbone.stem.conv1.norm.weight" in converted
    assert "backbone.res5.2.conv3.weight" in converted


def test_torchvision_files_are_told_from_detectron2_checkpoints(tmp_path):
    path = tmp_path / "resnet.pth"
    saved(18, path)
    assert is_foreign_checkpoint(path)
    torch.save({"state_dict": torch.load(path)}, path)
    assert is_foreign_checkpoint(path)
    torch.save({"model": resnet_model(18).state_dict(), "iteration": 3}, path)
    assert not is_foreign_checkpoint(path)
    assert not is_foreign_checkpoint(tmp_path / "absent.pth")
    assert not is_foreign_checkpoint(tmp_path / "R-50.pkl")


def test_what_was_loaded_is_logged(tmp_path, caplog):
    saved(18, tmp_path / "resnet.pth")
    with caplog.at_level(logging.INFO, logger="metaalign_det"):
        load_pretrained(resnet_model(18), tmp_path / "resnet.pth")
    assert "loaded 120 tensors" in caplog.text and "fc.weight" in caplog.text


def test_images_in_the_wrong_format_are_warned_of(tmp_path, caplog):
    saved(18, tmp_path / "resnet.pth")
    model = resnet_model(18, "INPUT.FORMAT", "BGR", "MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]")
    load_pretrained(model, tmp_path / "resnet.pth")
    assert "INPUT.FORMAT is BGR" in caplog.text and "MODEL.PIXEL_STD" in caplog.text


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path = tmp_path / "resnet.pth"
    with pytest.raises(UserError, match="there is no file .*resnet.pth"):
        load_pretrained(resnet_model(18), path)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="cannot be read"):
        load_pretrained(resnet_model(18), path)
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="does not hold the weights of a torchvision ResNet"):
        load_pretrained(resnet_model(18), path)
    saved(18, path)
    with pytest.raises(UserError, match="check MODEL.RESNETS.DEPTH"):
        load_pretrained(resnet_model(34), path)
    saved(50, path)
    with pytest.raises(UserError, match="set MODEL.RESNETS.STRIDE_IN_1X1 False"):
        load_pretrained(resnet_model(50, "MODEL.RESNETS.STRIDE_IN_1X1", True), path)


@pytest.mark.parametrize(
    "config_file, stem, last",
    [
        ("voc2watercolor_source.yaml", "backbone.stem", "roi_heads.res5"),
        ("voc2watercolor_swda_r50fpn.yaml", "backbone.bottom_up.stem", "backbone.bottom_up.res5"),
    ],
)
def test_every_stage_of_a_resnet_finds_its_place_in_a_detector(config_file, stem, last, tmp_path):
    from detectron2.modeling import build_model

    with torch.device("meta"):
        shapes = torchvision.models.resnet50().state_dict()
    state = {
        k: torch.tensor(i / 100).expand(v.shape)
        for i, (k, v) in enumerate(shapes.items())
        if not k.endswith("num_batches_tracked")
    }
    path = tmp_path / "resnet50.pth"
    torch.save(state, path)
    cfg = load_cfg(CONFIGS / config_file)
    cfg.MODEL.DEVICE, cfg.INPUT.FORMAT = "cpu", "RGB"
    cfg.MODEL.RESNETS.DEPTH, cfg.MODEL.RESNETS.STRIDE_IN_1X1 = 50, False
    cfg.MODEL.PIXEL_STD = [58.395, 57.12, 57.375]
    model = build_model(cfg)
    report = load_pretrained(model, path)
    own = model.state_dict()
    assert torch.equal(own[f"{stem}.conv1.weight"], state["conv1.weight"])
    assert torch.equal(own[f"{last}.2.conv3.weight"], state["layer4.2.conv3.weight"])
    assert set(report.skipped) == {"fc.weight", "fc.bias"} and not report.missing


def test_torchvision_vgg16_weights_go_into_backbone_and_box_head(tmp_path, caplog):
    from detectron2.modeling import build_model

    with torch.device("meta"):
        shapes = torchvision.models.vgg16().state_dict()
    state = {k: torch.tensor(i / 100).expand(v.shape) for i, (k, v) in enumerate(shapes.items())}
    path = tmp_path / "vgg16.pth"
    torch.save(state, path)
    cfg = load_cfg(CONFIGS / "voc2watercolor_swda_vgg16.yaml")
    cfg.MODEL.DEVICE = "cpu"
    model = build_model(cfg)
    assert is_foreign_checkpoint(path)
    report = load_pretrained(model, path)
    own = model.state_dict()
    fc7 = next(v for k, v in own.items() if k.endswith("fc7.weight"))
    assert torch.equal(fc7, state["classifier.3.weight"])
    assert set(report.skipped) == {"classifier.6.weight", "classifier.6.bias"}
    assert not report.missing
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    # Caffe's model has the same names and sees the images that a config of it says.
    model.input_format = "BGR"
    model.pixel_std.fill_(1.0)
    load_pretrained(model, path)
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
    model.pixel_std.fill_(58.0)
    load_pretrained(model, path)
    assert "INPUT.FORMAT is BGR" in caplog.text
