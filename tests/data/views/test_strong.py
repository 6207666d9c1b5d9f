"""Strong augmentation: changes colors and content, never the geometry."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from metaalign_det.data.views.strong import StrongView
from metaalign_det.errors import UserError
from tests.data.trees import tiny_cfg

OFF = {"color_prob": 0.0, "grey_prob": 0.0, "blur_prob": 0.0}


def noise(height=70, width=90):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def numbers(seed=0):
    return np.random.default_rng(seed)


def test_nothing_switched_on_leaves_the_pixels_alone():
    image = noise()
    assert np.array_equal(StrongView(**OFF)(image, numbers()), image)


def test_arrays_and_tensors_get_the_same_view_and_are_not_written_to():
    image = noise()
    view = StrongView(erase_probs=(1.0,), mask_ratio=0.3)
    array = view(image, numbers())
    tensor = torch.from_numpy(image).permute(2, 0, 1)
    strong = view(tensor, numbers())
    assert array.shape == image.shape and array.dtype == np.uint8
    assert strong.shape == (3, 70, 90) and strong.is_contiguous()
    assert np.array_equal(strong.permute(1, 2, 0).numpy(), array)
    assert np.array_equal(image, noise())


def test_everything_random_comes_from_the_generator_given():
    view, image = StrongView(erase_probs=(0.5,), mask_ratio=0.5), noise()
    np.random.seed(0)
    first = view(image, numbers(1))
    np.random.seed(1)
    assert np.array_equal(view(image, numbers(1)), first)
    assert not np.array_equal(view(image, numbers(2)), first)


def test_color_jitter_keeps_to_its_ranges():
    grey = np.full((8, 8, 3), 100, np.uint8)
    # Without contrast a flat grey image shows brightness alone.
    view = StrongView(**{**OFF, "color_prob": 1.0}, contrast=0.0)
    values = np.array([view(grey, numbers(i))[0, 0, 0] for i in range(200)])
    assert 60 <= values.min() < 65 and 135 < values.max() <= 140


def test_hue_turns_and_leaves_brightness_and_grey_alone():
    turned = StrongView(
        **{**OFF, "color_prob": 1.0}, brightness=0, contrast=0, saturation=0, hue=0.5
    )
    grey = np.full((4, 4, 3), 90, np.uint8)
    assert np.array_equal(turned(grey, numbers()), grey)
    red = np.zeros((4, 4, 3), np.uint8)
    red[:, :, 2] = 200
    hues = set()
    for seed in range(40):
        out = turned(red, numbers(seed))
        assert abs(int(out.max()) - 200) <= 1 and out.min() <= 1
        hues.add(int(out[0, 0].argmax()))
    assert hues == {0, 1, 2}  # all the way around


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_grey_weighs_channels_by_their_color(order):
    view = StrongView(**{**OFF, "grey_prob": 1.0}, image_format=order)
    image = noise()
    expected = cv2.cvtColor(image, getattr(cv2, f"COLOR_{order}2GRAY"))
    assert np.array_equal(view(image, numbers()), np.repeat(expected[:, :, None], 3, axis=2))


def test_blur_smooths():
    view = StrongView(**{**OFF, "blur_prob": 1.0}, blur_sigma=(2.0, 2.0))
    assert view(noise(), numbers()).std() < 0.3 * noise().std()


@pytest.mark.parametrize("size", [(70, 90), (3, 200)])
def test_erased_rectangles_are_noise_of_the_share_asked_for(size):
    view = StrongView(**OFF, erase_probs=(1.0,), erase_area=(0.1, 0.2))
    flat = np.full((*size, 3), 7, np.uint8)
    shares = []
    for seed in range(50):
        changed = (view(flat, numbers(seed)) != flat).any(axis=2)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        window = changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert window.mean() > 0.98  # one rectangle; noise is sometimes 7
        shares.append(window.size / flat[:, :, 0].size)
    assert max(shares) < 0.21
    if size == (70, 90):
        assert min(shares) > 0.09


def test_masks_are_whole_blocks_of_the_mean_color():
    view = StrongView(**OFF, mask_ratio=0.5, mask_block=32, mask_fill=(1.2, 2.0, 300.0))
    masked = 0
    for seed in range(100):
        out = view(noise(), numbers(seed))
        for top in range(0, 70, 32):
            for left in range(0, 90, 32):
                block = (slice(top, top + 32), slice(left, left + 32))
                if (out[block] == (1, 2, 255)).all():
                    masked += 1
                else:
                    assert np.array_equal(out[block], noise()[block])
    assert masked / 900 == pytest.approx(0.5, abs=0.05)


def test_default_domains_are_those_of_the_recipe():
    source, target = (StrongView.from_config(tiny_cfg(), d) for d in ("source", "target"))
    assert source.erase_probs == (0.7, 0.5, 0.3) and source.mask_ratio == 0
    assert target.erase_probs == () and target.mask_ratio == 0.5
    assert target.mask_fill.tolist() == [104, 116, 124]  # MODEL.PIXEL_MEAN


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("COLOR_PROB", 1.5, r"COLOR_PROB must be in \[0, 1\], got 1.5"),
        ("HUE", 0.6, r"HUE must be in \[0, 0.5\]"),
        ("ERASE_PROBS", (0.5, -0.1), "ERASE_PROBS must be"),
        ("ERASE_AREA", (0.2, 0.1), "ERASE_AREA is .least, greatest."),
        ("BLUR_SIGMA", (0.0, 1.0), "BLUR_SIGMA"),
        ("MASK_BLOCK", 0, "MASK_BLOCK is a side in pixels"),
        ("MASK_DOMAINS", ("targets",), "MASK_DOMAINS is a list of source and target"),
    ],
)
def test_values_that_mean_nothing_are_refused_by_name(key, value, message):
    cfg = tiny_cfg()
    cfg.INPUT.STRONG[key] = value
    with pytest.raises(UserError, match=f"INPUT.STRONG.{message}"):
        StrongView.from_config(cfg, "target")


def test_grey_and_yuv_formats_are_refused():
    cfg = tiny_cfg()
    cfg.INPUT.FORMAT = "L"
    with pytest.raises(UserError, match="INPUT.FORMAT BGR or RGB, not 'L'"):
        StrongView.from_config(cfg, "source")
    with pytest.raises(ValueError, match="float32"):
        StrongView()(noise().astype(np.float32), numbers())
