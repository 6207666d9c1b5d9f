"""What a classifier is fed: published augmentation, numpy's randomness, no label of a target."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import transforms as T
from PIL import Image

from metaalign_det.config import add_metaalign_config
from metaalign_det.data.views.classification import ClassificationMapper, RandomResizedCrop
from metaalign_det.errors import UserError


def make_cfg(**values):
    cfg = get_cfg()
    add_metaalign_config(cfg)
    for key, value in values.items():
        if key == "FORMAT":
            cfg.INPUT.FORMAT = value
        else:
            setattr(cfg.INPUT.CLASSIFICATION, key, value)
    return cfg


@pytest.fixture
def image(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    return {"file_name": str(tmp_path / "image.png"), "image_id": "image", "label": 3}, pixels


def as_is(**values):
    return make_cfg(RESIZE=0, CROP=0, FLIP=False, **values)


def test_without_augmentation_the_pixels_are_those_of_the_file(image):
    record, pixels = image
    out = ClassificationMapper(as_is(FORMAT="RGB"), True, True)(record)
    assert out["image"].dtype == torch.uint8
    assert torch.equal(out["image"], torch.from_numpy(pixels).permute(2, 0, 1))
    bgr = ClassificationMapper(as_is(FORMAT="BGR"), True, True)(record)
    assert torch.equal(bgr["image"], out["image"].flip(0))


def test_result_has_label_sizes_of_the_file_and_domain(image):
    out = ClassificationMapper(make_cfg(), True, True, domain=2)(image[0])
    assert out.pop("image").shape == (3, 224, 224)
    assert out == {**image[0], "height": 30, "width": 40, "domain": 2}
    assert "domain" not in ClassificationMapper(make_cfg(), True, True)(image[0])
    given = ClassificationMapper(make_cfg(), True, True, domain=2)({**image[0], "domain": 1})
    assert given["domain"] == 1


def test_a_target_leaves_every_annotation_behind_and_looks_the_same_whatever_they_say(image):
    mapper = ClassificationMapper(make_cfg(), True, False, domain=1)
    results = []
    for poison in ({"label": 7}, {"label": "x", "annotations": [1], "instances": 2, "text": "cat"}):
        np.random.seed(0)
        results.append(mapper({**image[0], **poison}))
    assert set(results[0]) == {"image", "file_name", "image_id", "height", "width", "domain"}
    assert results[0].keys() == results[1].keys()
    assert torch.equal(results[0]["image"], results[1]["image"])


def test_dataset_dict_is_left_alone(image):
    before = dict(image[0])
    ClassificationMapper(make_cfg(), True, False)(image[0])
    assert image[0] == before


def test_test_images_are_squeezed_to_a_square_and_cropped_in_the_centre(image):
    record, pixels = image
    cfg = make_cfg(RESIZE=20, CROP=12, FORMAT="RGB")
    out = ClassificationMapper(cfg, False, True)(record)["image"]
    square = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR))
    assert np.array_equal(out.permute(1, 2, 0).numpy(), square[4:16, 4:16])


def test_training_crops_reach_every_position_and_flip_half_of_the_time(image):
    record, pixels = image
    mapper = ClassificationMapper(make_cfg(RESIZE=0, CROP=28, FORMAT="RGB"), True, True)
    np.random.seed(0)
    seen = {mapper(record)["image"].numpy().tobytes() for _ in range(1000)}
    windows = set()
    for top in range(3):
        for left in range(13):
            window = pixels[top : top + 28, left : left + 28].transpose(2, 0, 1)
            windows |= {window.tobytes(), window[:, :, ::-1].tobytes()}
    assert seen == windows


def test_randomness_is_numpys(image):
    mapper = ClassificationMapper(make_cfg(CROP_TYPE="resized"), True, True)
    images = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        images.append(mapper(image[0])["image"])
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


def test_resized_crop_keeps_to_its_ranges_of_area_and_aspect():
    crop = RandomResizedCrop(16)
    np.random.seed(0)
    windows = np.array([crop._window(300, 400) for _ in range(500)])
    left, top, w, h = windows.T
    assert (left >= 0).all() and (top >= 0).all()
    assert (left + w <= 400).all() and (top + h <= 300).all()
    area, aspect = w * h / (300 * 400), w / h
    assert 0.079 < area.min() < 0.12 and 0.8 < area.max() <= 1
    assert 0.74 < aspect.min() < 0.78 and 1.28 < aspect.max() < 1.35
    augmented = T.AugInput(np.zeros((300, 400, 3), np.uint8))
    crop(augmented)
    assert augmented.image.shape == (16, 16, 3)


def test_resized_crop_of_a_strip_is_its_centre():
    assert RandomResizedCrop(16, scale=(0.9, 1.0))._window(10, 400) == (193, 0, 13, 10)


def test_an_image_that_cannot_be_read_is_named(tmp_path, image):
    mapper = ClassificationMapper(make_cfg(), True, True)
    whole = (tmp_path / "image.png").read_bytes()
    for name, content in [("cut.png", whole[: len(whole) // 2]), ("text.jpg", b"not an image")]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            mapper({**image[0], "file_name": str(tmp_path / name)})
    with pytest.raises(UserError, match="gone.png"):
        mapper({**image[0], "file_name": str(tmp_path / "gone.png")})


def test_a_crop_that_cannot_be_is_refused(image):
    with pytest.raises(UserError, match=r"CROP \(224\) exceeds RESIZE \(100\)"):
        ClassificationMapper(make_cfg(RESIZE=100), True, True)
    with pytest.raises(UserError, match="fixed or resized, not 'Resized'"):
        ClassificationMapper(make_cfg(CROP_TYPE="Resized"), True, True)
    mapper = ClassificationMapper(make_cfg(RESIZE=0, CROP=35), True, True)
    with pytest.raises(UserError, match="image.png: 40x30 pixels are too few"):
        mapper(image[0])


def test_cached_images_are_not_read_again_and_cannot_be_spoilt(tmp_path, image):
    record, pixels = image
    mapper = ClassificationMapper(as_is(CACHE_MB=1, FORMAT="RGB"), True, True)
    mapper(record)["image"].zero_()
    (tmp_path / "image.png").unlink()
    again = mapper(record)["image"]
    assert torch.equal(again, torch.from_numpy(pixels).permute(2, 0, 1))


def test_the_cache_stays_within_its_size(tmp_path, image):
    mapper = ClassificationMapper(as_is(CACHE_MB=0.003), True, True)  # 30 x 40 x 3 is more
    mapper(image[0])
    (tmp_path / "image.png").unlink()
    with pytest.raises(UserError):
        mapper(image[0])
