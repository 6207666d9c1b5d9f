"""A checkpoint is enough to predict: config, class names and pixel format come from it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data import detection_utils
from PIL import Image

from metaalign_det.errors import UserError
from metaalign_det.explain.predict import Classification, Predictor
from metaalign_det.explain.predict_images import as_rgb
from metaalign_det.modeling.weight_files import write_safetensors
from tests.explain.checkpoints import (
    NAMES,
    classifier_cfg,
    detector_cfg,
    save_checkpoint,
    save_images,
)
from tests.explain.toys import register_own
from tests.tiny import tiny_model


@pytest.fixture
def detector(tmp_path):
    return Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", detector_cfg()))


def test_a_detector_in_three_lines(tmp_path):
    (file,) = save_images(tmp_path, sizes=[(90, 60)])
    save_checkpoint(tmp_path / "run", detector_cfg())

    predictor = Predictor.from_checkpoint(tmp_path / "run")
    found = predictor(file)
    names = predictor.names(found)

    assert found.image_size == (60, 90)
    assert len(names) == len(found) > 0 and set(names) <= set(NAMES)
    box = found.pred_boxes.tensor
    assert box.min() >= 0 and box[:, 2].max() <= 90 and box[:, 3].max() <= 60


def test_it_finds_what_evaluation_finds(tmp_path, detector):
    (file,) = save_images(tmp_path, sizes=[(90, 60)])
    cfg = detector_cfg()
    model = tiny_model(cfg).eval()
    pixels = detection_utils.read_image(str(file), format=cfg.INPUT.FORMAT)
    resized = detection_utils.build_augmentation(cfg, False)[0].get_transform(pixels)
    image = torch.as_tensor(resized.apply_image(pixels).transpose(2, 0, 1).copy())
    with torch.no_grad():
        (expected,) = model([{"image": image, "height": 60, "width": 90}])
    found = detector(file)
    assert torch.equal(found.scores, expected["instances"].scores)
    assert torch.equal(found.pred_boxes.tensor, expected["instances"].pred_boxes.tensor)


def test_a_result_does_not_depend_on_the_batch(tmp_path, detector):
    files = save_images(tmp_path, sizes=[(90, 60), (60, 90), (90, 60), (70, 70), (90, 60)])
    single = [detector(f) for f in files]
    for size in (2, 3, 8):
        for a, b in zip(single, detector(files, batch_size=size), strict=True):
            assert a.image_size == b.image_size
            torch.testing.assert_close(a.pred_boxes.tensor, b.pred_boxes.tensor)
            torch.testing.assert_close(a.scores, b.scores)


def test_paths_arrays_of_either_order_and_pillow_images_are_the_same_image(tmp_path, detector):
    (file,) = save_images(tmp_path, sizes=[(90, 60)])
    expected = detector(file).scores
    pixels = np.asarray(Image.open(file))
    assert torch.equal(detector(pixels).scores, expected)
    assert torch.equal(detector(pixels[:, :, ::-1], order="BGR").scores, expected)
    assert torch.equal(detector(Image.open(file)).scores, expected)
    assert not torch.equal(detector(pixels[:, :, ::-1]).scores, expected)


def test_grey_arrays_are_spread_over_three_channels():
    grey = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert as_rgb(grey).shape == (2, 3, 3)
    assert (as_rgb(grey) == grey[:, :, None]).all()


def test_files_and_pillow_images_of_any_mode_look_the_same(tmp_path):
    gradient = np.linspace(0, 65535, 48, dtype=np.uint16).reshape(6, 8)
    clear = np.full((6, 8, 4), (255, 0, 0, 0), np.uint8)
    grey = np.stack([gradient >> 8, gradient >> 9], -1).astype(np.uint8)
    for number, pixels in enumerate((gradient, clear, grey)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        assert np.array_equal(as_rgb(Image.open(path)), as_rgb(path)), pixels.dtype
    assert 120 < as_rgb(Image.fromarray(gradient)).mean() < 135
    assert (as_rgb(Image.fromarray(clear)) == 255).all()


def test_threshold_and_classes_choose_among_detections(tmp_path):
    (file,) = save_images(tmp_path, sizes=[(90, 60)])
    path = save_checkpoint(tmp_path / "run", detector_cfg())
    everything = Predictor.from_checkpoint(path, threshold=0.0)(file)
    between = float(everything.scores.median())
    some = Predictor.from_checkpoint(path, threshold=between)(file)
    assert 0 < len(some) < len(everything) and some.scores.min() >= between
    lights = Predictor.from_checkpoint(path, threshold=0.0, classes=["Traffic_Light"])(file)
    assert set(lights.pred_classes.tolist()) == {2}


def test_a_classifier_gives_its_top_k(tmp_path):
    (file,) = save_images(tmp_path, sizes=[(40, 30)])
    path = save_checkpoint(tmp_path / "run", classifier_cfg())
    result = Predictor.from_checkpoint(path)(file)
    assert isinstance(result, Classification)
    top = result.top(2)
    assert [p for _, p in top] == sorted((p for _, p in top), reverse=True)
    assert len(result.top(99)) == 3 and sum(p for _, p in result.top(99)) == pytest.approx(1)


def test_a_classifier_of_a_name_of_its_own_is_one(tmp_path, monkeypatch):
    register_own(monkeypatch)
    (file,) = save_images(tmp_path, sizes=[(40, 30)])
    cfg = classifier_cfg()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.ROI_HEADS.NUM_CLASSES = "OwnClassifier", 80
    path = save_checkpoint(tmp_path / "run", cfg)
    assert isinstance(Predictor.from_checkpoint(path)(file), Classification)


def test_a_model_whose_plug_in_is_missing_is_the_users_to_fix(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        register_own(patch)
        cfg = classifier_cfg()
        cfg.MODEL.META_ARCHITECTURE = "OwnClassifier"
        path = save_checkpoint(tmp_path / "run", cfg)
    with pytest.raises(UserError, match="pth: .*'OwnClassifier' is not registered.*PLUGINS"):
        Predictor.from_checkpoint(path)


def test_without_the_entry_config_yaml_and_the_registered_data_tell(tmp_path, catalog):
    from detectron2.data import MetadataCatalog

    cfg = detector_cfg()
    path = save_checkpoint(tmp_path / "run", cfg)
    content = torch.load(path)
    del content["metaalign"]
    torch.save(content, path)
    with pytest.raises(UserError, match="carries no config, and there is no config.yaml beside"):
        Predictor.from_checkpoint(path)
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    assert Predictor.from_checkpoint(path).class_names == ("class 0", "class 1", "class 2")
    catalog.register("a_data_set_that_is_not_here", list)
    MetadataCatalog.get("a_data_set_that_is_not_here").thing_classes = list("abc")
    assert Predictor.from_checkpoint(path).class_names == ("a", "b", "c")


def test_a_key_of_another_version_in_the_config_is_no_obstacle(tmp_path):
    cfg = detector_cfg()
    path = save_checkpoint(tmp_path / "run", cfg)
    content = torch.load(path)
    content["metaalign"]["config"] += "\nA_LATER_KEY:\n  NEW: 1\n"
    torch.save(content, path)
    assert Predictor.from_checkpoint(path).class_names == tuple(NAMES)


def test_safetensors_carry_config_and_classes_too(tmp_path):
    cfg = detector_cfg()
    path = save_checkpoint(tmp_path / "run", cfg)
    other = path.with_suffix(".safetensors")
    write_safetensors(tiny_model(cfg), other, torch.load(path)["metaalign"])
    (file,) = save_images(tmp_path, sizes=[(90, 60)])
    expected = Predictor.from_checkpoint(path)(file).scores
    assert torch.equal(Predictor.from_checkpoint(other)(file).scores, expected)


def test_the_teacher_is_used_on_request(tmp_path):
    (file,) = save_images(tmp_path, sizes=[(90, 60)])
    cfg = detector_cfg()
    path = save_checkpoint(tmp_path / "run", cfg)
    with pytest.raises(UserError, match="has no teacher"):
        Predictor.from_checkpoint(path, teacher=True)
    broken(path, teacher={"model": tiny_model(cfg, seed=1).state_dict(), "started": True})
    other = Predictor.from_checkpoint(save_checkpoint(tmp_path / "other", cfg, seed=1))
    found = Predictor.from_checkpoint(path, teacher=True)(file)
    assert torch.equal(found.scores, other(file).scores)
    assert not torch.equal(found.scores, Predictor.from_checkpoint(path)(file).scores)


def broken(path, **changes):
    content = torch.load(path)
    content.update(changes)
    torch.save(content, path)


def test_what_cannot_be_used_is_named(tmp_path, detector):
    with pytest.raises(UserError, match="no checkpoint and no run directory 'nowhere'"):
        Predictor.from_checkpoint("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="has no model_final.pth and no last checkpoint"):
        Predictor.from_checkpoint(tmp_path / "empty")
    text = tmp_path / "notes.pth"
    text.write_text("hello")
    with pytest.raises(UserError, match="notes.pth"):
        Predictor.from_checkpoint(text)
    torch.save({"weights": 1}, text)
    with pytest.raises(UserError, match="no entry 'model'"):
        Predictor.from_checkpoint(text)
    path = tmp_path / "run" / "model_final.pth"
    with pytest.raises(UserError, match=r"probability in \[0, 1\], not 7"):
        Predictor.from_checkpoint(path, threshold=7)
    with pytest.raises(UserError, match="no class 'cot'.*did you mean 'cat'"):
        Predictor.from_checkpoint(path, classes=["cot"])
    broken(path, model={})
    with pytest.raises(UserError, match="does not fit its own config"):
        Predictor.from_checkpoint(path)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG\r\n")
    with pytest.raises(UserError, match="damaged.png is not an image"):
        detector(damaged)
    with pytest.raises(UserError, match="uint8 of shape"):
        detector(np.zeros((4, 4, 3)))


def of_batchnorm(model):
    layers = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    return torch.cat([torch.stack([m.running_mean, m.running_var]).flatten() for m in layers])


def classifier_with_batchnorm(tmp_path):
    cfg = classifier_cfg()
    cfg.MODEL.DIGITS_NET.NORM = "BN"
    return Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", cfg))


def test_statistics_are_those_of_the_images_and_nothing_else_changes(tmp_path):
    files = save_images(tmp_path, sizes=[(40, 30)] * 6)
    predictor = classifier_with_batchnorm(tmp_path)
    weights = [p.clone() for p in predictor.model.parameters()]
    assert predictor.adapt_statistics(files, batch_size=6) == 6
    first = next(m for m in predictor.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    seen = []
    first.register_forward_pre_hook(lambda layer, given: seen.append(given[0]))
    predictor(files, batch_size=6)
    assert torch.allclose(first.running_mean, seen[0].mean(dim=(0, 2, 3)), atol=1e-5)
    assert torch.allclose(
        first.running_var, seen[0].var(dim=(0, 2, 3), correction=0), rtol=1e-4, atol=1e-5
    )
    assert all(map(torch.equal, weights, predictor.model.parameters()))
    assert not predictor.model.training


def test_a_detectors_statistics_take_images_of_any_size(tmp_path):
    cfg = detector_cfg()
    cfg.MODEL.RESNETS.NORM = "BN"
    predictor = Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", cfg))
    before = of_batchnorm(predictor.model)
    files = save_images(tmp_path, sizes=[(90, 60), (60, 90), (80, 50), (70, 70), (64, 64)])
    assert predictor.adapt_statistics(files, batch_size=2) >= 4
    after = of_batchnorm(predictor.model)
    assert torch.isfinite(after).all() and not torch.allclose(before, after, atol=1e-3)


def test_statistics_that_one_image_cannot_have_are_refused_in_a_sentence(tmp_path):
    cfg = classifier_cfg()
    cfg.MODEL.DIGITS_NET.NORM, cfg.MODEL.DIGITS_NET.FC_DIM = "BN", 6
    cfg.MODEL.CLASSIFIER.IN_FEATURE = "fc"
    cfg.INPUT.CLASSIFICATION.RESIZE = cfg.INPUT.CLASSIFICATION.CROP = 0
    predictor = Predictor.from_checkpoint(save_checkpoint(tmp_path / "run", cfg))
    before = of_batchnorm(predictor.model)
    files = save_images(tmp_path, sizes=[(40, 30), (30, 40), (32, 32)])
    with pytest.raises(UserError, match="sees one position of each image"):
        predictor.adapt_statistics(files)
    with pytest.raises(UserError, match="batch size must be >= 1, got 0"):
        predictor.adapt_statistics(files, batch_size=0)
    assert torch.equal(before, of_batchnorm(predictor.model))
    assert not any(m.training for m in predictor.model.modules())


def test_a_device_that_is_not_here_is_named_and_that_of_the_training_is_replaced(tmp_path):
    cfg = detector_cfg()
    path = save_checkpoint(tmp_path / "run", cfg)
    for name in ("gpu", "meta"):
        with pytest.raises(UserError, match=f"device '{name}'"):
            Predictor.from_checkpoint(path, device=name)
    content = torch.load(path)
    text = content["metaalign"]["config"]
    content["metaalign"]["config"] = text.replace("DEVICE: cpu", "DEVICE: meta")
    assert content["metaalign"]["config"] != text
    torch.save(content, path)
    assert Predictor.from_checkpoint(path).model.device.type == "cpu"


def test_what_has_no_statistics_or_no_images_says_so(tmp_path, detector):
    files = save_images(tmp_path, sizes=[(40, 30)] * 2)
    with pytest.raises(UserError, match="no BatchNorm whose statistics could be replaced"):
        detector.adapt_statistics(files)
    predictor = classifier_with_batchnorm(tmp_path)
    before = of_batchnorm(predictor.model)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG")
    given = [files[0], tmp_path / "broken.png"]
    with pytest.raises(UserError, match=r"broken\.png"):
        predictor.adapt_statistics(given)
    bad = []
    with pytest.raises(UserError, match="at least 2 usable images, there are 1"):
        predictor.adapt_statistics(given, bad=bad)
    assert "broken.png" in str(bad[0]) and torch.equal(before, of_batchnorm(predictor.model))
