"""Images: a function of the seed alone, a style that follows the strength, VOC boxes."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.miniatures.generate import (
    Recipe,
    annotation,
    draw,
    draw_split_image,
    single_threaded_cv2,
    write_split_images,
)
from metaalign_det.miniatures.splits import CLASSES, SPLITS
from metaalign_det.miniatures.sprites import HELD_OUT, SEEN, glyph_pool
from metaalign_det.miniatures.watercolor import remaining_photo

pytest.importorskip("resvg_py")
pytest.importorskip("sklearn")

SPLIT = {split.name: split for split in SPLITS}
POOL = glyph_pool(("twemoji",), held_out=True)


def distance(a, b):
    return float(np.abs(a.image.astype(float) - b.image).mean())


@pytest.mark.parametrize("name", SPLIT)
def test_an_image_is_a_function_of_seed_split_and_index(name):
    first = draw_split_image(Recipe(), SPLIT[name], 1)
    draw_split_image(Recipe(), SPLIT[name], 0)  # what was drawn before does not matter
    again = draw_split_image(Recipe(), SPLIT[name], 1)
    assert first.image.dtype == np.uint8 and first.image.shape == (160, 160, 3)
    assert np.array_equal(first.image, again.image)
    assert [o.box for o in first.objects] == [o.box for o in again.objects]
    assert distance(first, draw_split_image(Recipe(seed=1), SPLIT[name], 1)) > 1


def test_no_image_is_in_two_splits():
    pictures = [draw_split_image(Recipe(), split, 0) for split in SPLITS]
    for i, a in enumerate(pictures):
        assert all(distance(a, b) > 1 for b in pictures[:i])


def test_source_training_shows_seen_glyphs_and_everything_else_held_out_ones():
    for split in SPLITS:
        allowed = SEEN if split.name == "mini_photo_train" else HELD_OUT
        for i in range(6):
            for item in draw_split_image(Recipe(), split, i).objects:
                assert item.glyph.code in allowed[CLASSES[item.category]]


def test_designers_of_each_domain():
    recipe = Recipe(target_sprites=("openmoji",))
    assert recipe.sprite_sets(SPLIT["mini_photo_train"]) == ("twemoji",)
    assert recipe.sprite_sets(SPLIT["mini_watercolor_val"]) == ("openmoji",)
    assert recipe.sprite_sets(SPLIT["mini_mixed_test"]) == ("twemoji", "openmoji")


def test_strength_zero_is_the_photograph():
    for i in range(3):
        photo = draw((0, 9, i), POOL, None)
        assert np.array_equal(photo.image, draw((0, 9, i), POOL, 0.0).image)


def test_more_strength_is_further_from_the_photograph_in_small_steps():
    dial = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]
    pictures = [[draw((0, 9, i), POOL, s) for s in dial] for i in range(5)]
    step = np.mean([[distance(a, b) for a, b in zip(p, p[1:])] for p in pictures], axis=0)
    total = np.mean([distance(p[0], p[-1]) for p in pictures])
    assert total > 20
    assert step.max() < 0.75 * total  # no single click of the dial does it all
    gap = np.mean([[distance(p[0], q) for q in p] for p in pictures], axis=0)
    assert gap[1] < gap[2] < gap[-1]


def test_the_photograph_is_gone_smoothly():
    assert remaining_photo(0.0) == 1 and remaining_photo(0.7) == 0 == remaining_photo(1.0)
    assert 0 < remaining_photo(0.69) < 1e-3


def test_stylization_changes_the_picture_a_little():
    plain, drawn = draw((0, 9, 0), POOL, 1.0), draw((0, 9, 0), POOL, 1.0, 0.35)
    assert 0.5 < distance(plain, drawn) < 40


def test_the_number_of_opencv_threads_is_restored():
    before = cv2.getNumThreads()
    with pytest.raises(KeyError), single_threaded_cv2():
        assert cv2.getNumThreads() == 1
        raise KeyError
    assert cv2.getNumThreads() == before


def test_boxes_in_xml_are_one_based_and_inclusive():
    picture = draw((0, 9, 4), POOL, None)
    root = ET.fromstring(annotation("test_00004", picture))
    assert root.findtext("filename") == "test_00004.jpg"
    assert [root.findtext(f"size/{t}") for t in ("width", "height", "depth")] == ["160", "160", "3"]
    nodes = root.findall("object")
    assert len(nodes) == len(picture.objects) > 0
    for node, item in zip(nodes, picture.objects):
        y, x = np.nonzero(item.mask)
        written = [int(node.findtext(f"bndbox/{t}")) for t in ("xmin", "ymin", "xmax", "ymax")]
        assert written == [x.min() + 1, y.min() + 1, x.max() + 1, y.max() + 1]
        assert node.findtext("name") == CLASSES[item.category]
        assert node.findtext("difficult") == "0"


def test_files_decode_to_what_was_drawn(tmp_path):
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / part).mkdir()
    split = SPLIT["mini_watercolor_test"]
    counts = write_split_images(Recipe(), split, range(2, 4), tmp_path)
    drawn = [draw_split_image(Recipe(), split, i) for i in (2, 3)]
    assert sum(counts) == sum(len(p.objects) for p in drawn)
    decoded = cv2.imread(str(tmp_path / "JPEGImages" / "test_00002.jpg"))[..., ::-1]
    assert np.abs(decoded.astype(float) - drawn[0].image).mean() < 4


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": 1.5}, r"strength must be in \[0, 1\]"),
        ({"strength": float("nan")}, r"strength must be in \[0, 1\]"),
        ({"stylization": 0.5}, "stylization must be in .*0.35"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"target_sprites": ()}, "target_sprites"),
        ({"target_sprites": ("noto",)}, "target_sprites.*noto"),
    ],
)
def test_a_recipe_out_of_range_is_refused(values, message):
    with pytest.raises(UserError, match=message):
        Recipe(**values)
