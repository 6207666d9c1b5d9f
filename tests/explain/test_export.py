"""Exported models compute what the eager ones do."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from metaalign_det.errors import UserError
from metaalign_det.explain.export import Exportable, describe, export
from metaalign_det.explain.predict import Predictor
from tests.explain.checkpoints import classifier_cfg, detector_cfg, save_checkpoint, save_images

CFGS = {"detection": detector_cfg, "classification": classifier_cfg}


def run_onnx(path, image):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})


@pytest.fixture(params=list(CFGS))
def predictor(request, tmp_path):
    return Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", CFGS[request.param]()))


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*deprecated")
@pytest.mark.parametrize("form", ["torchscript", "onnx"])
def test_an_exported_model_equals_the_eager_one_on_images_of_other_sizes(predictor, tmp_path, form):
    if form == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    files = save_images(tmp_path / "images")
    path = export(predictor, files[0], form, tmp_path / "out")
    eager = Exportable(predictor, files[0])
    for file in files[:2]:  # one lies, one stands
        image = predictor.prepare(file)["image"]
        expected = [x.numpy() for x in eager(image)]
        if form == "onnx":
            found = run_onnx(path, image.numpy())
        else:
            found = [x.detach().numpy() for x in torch.jit.load(path)(image)]
        assert len(expected[0]) > 0
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)


def pyramid_cfg():
    """Of a feature pyramid, which pads an image to a multiple of 32."""
    cfg = detector_cfg()
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.DEPTH = 18
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.OUT_CHANNELS = 8
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[8], [16], [32], [64], [128]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.DA.LOCAL.FEATURE, cfg.MODEL.DA.GLOBAL.FEATURE = "p2", "p4"
    return cfg


def many_regions_cfg():
    """How many proposals are left after suppression differs from image to image."""
    cfg = detector_cfg()
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 60
    cfg.MODEL.RPN.NMS_THRESH = 0.3
    return cfg


@pytest.mark.filterwarnings("ignore:.*torch.jit.load.*deprecated")
@pytest.mark.parametrize("form", ["torchscript", "onnx"])
@pytest.mark.parametrize(
    ("cfg", "sizes"),
    [
        (many_regions_cfg, [(90, 60), (64, 64), (97, 61)]),
        (pyramid_cfg, [(64, 64), (80, 64), (90, 60)]),  # the example is not padded
        (pyramid_cfg, [(80, 64), (64, 64)]),  # the example is
    ],
)
def test_context_vectors_of_an_exported_model_are_those_of_each_image(cfg, sizes, form, tmp_path):
    if form == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    predictor = Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", cfg()))
    files = save_images(tmp_path / "images", sizes=sizes)
    path = export(predictor, files[0], form, tmp_path / "out")
    counts = set()
    for file in files:
        image = predictor.prepare(file)["image"]
        with torch.no_grad():
            (found,) = predictor.model.inference([{"image": image}], do_postprocess=False)
        expected = [found.pred_boxes.tensor.numpy(), found.pred_classes.numpy()]
        if form == "onnx":
            boxes, classes, _ = run_onnx(path, image.numpy())
        else:
            boxes, classes, _ = (x.detach().numpy() for x in torch.jit.load(path)(image))
        np.testing.assert_allclose(boxes, expected[0], rtol=1e-4, atol=1e-3)
        np.testing.assert_array_equal(classes, expected[1])
        counts.add(len(boxes))
    assert len(counts) > 1


def test_the_exported_boxes_are_those_of_the_predictor_before_scaling(tmp_path):
    predictor = Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", detector_cfg()))
    (file,) = save_images(tmp_path / "images", sizes=[(90, 60)])
    boxes, classes, scores = Exportable(predictor, file)(predictor.prepare(file)["image"])
    found = predictor(file)
    assert torch.equal(classes, found.pred_classes) and torch.equal(scores, found.scores)
    height, width = predictor.prepare(file)["image"].shape[1:]
    scale = torch.tensor([90 / width, 60 / height] * 2)
    torch.testing.assert_close(boxes * scale, found.pred_boxes.tensor, rtol=1e-4, atol=1e-3)


def test_the_description_beside_it_says_how_to_feed_it(predictor, tmp_path):
    (file,) = save_images(tmp_path / "images", sizes=[(90, 60)])
    export(predictor, file, "torchscript", tmp_path / "out")
    told = json.loads((tmp_path / "out" / "model.json").read_text())
    assert told["classes"] == ["cat", "dog", "traffic light"]
    assert told["input"]["channels"] == predictor.cfg.INPUT.FORMAT
    assert told["input"]["shape"][0] == "3"


def test_the_description_of_a_gray_model_says_one_channel(tmp_path):
    cfg = detector_cfg()
    cfg.INPUT.FORMAT, cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = "L", [120.0], [58.0]
    predictor = Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", cfg))
    assert describe(predictor)["input"]["shape"][0] == "1"


def test_exporting_leaves_the_predictor_as_it_was(tmp_path):
    predictor = Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", detector_cfg()))
    (file,) = save_images(tmp_path / "images", sizes=[(90, 60)])
    before = predictor(file)
    layers = [type(m) for m in predictor.model.modules()]
    export(predictor, file, "torchscript", tmp_path / "out")
    assert [type(m) for m in predictor.model.modules()] == layers
    assert torch.equal(predictor(file).pred_boxes.tensor, before.pred_boxes.tensor)


def test_an_unknown_form_is_named(predictor, tmp_path):
    with pytest.raises(UserError, match="not 'caffe2'"):
        export(predictor, np.zeros((60, 90, 3), np.uint8), "caffe2", tmp_path)
