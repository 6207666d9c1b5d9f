"""Scenes: boxes are exactly what the masks cover, and everything stays within its limits."""

from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.miniatures.scenes import (
    IMAGE_SIZE,
    MAX_OBJECTS,
    MAX_OVERLAP,
    SIZE_RANGE,
    overlap,
    sample_scene,
)
from metaalign_det.miniatures.sprites import CLASSES, SPRITE_SETS, glyph_pool

pytest.importorskip("resvg_py")

POOL = glyph_pool(SPRITE_SETS, held_out=True)


@pytest.fixture(scope="module", params=[0.0, 2.4], ids=["steady", "wobbling"])
def scenes(request):
    return [sample_scene(np.random.default_rng([3, i]), POOL, request.param) for i in range(40)]


def test_boxes_are_the_extent_of_the_masks(scenes):
    for scene in scenes:
        for item in scene.objects:
            y, x = np.nonzero(item.mask)
            assert item.box == (x.min(), y.min(), x.max() + 1, y.max() + 1)


def test_masks_are_what_is_seen_unless_something_is_in_front(scenes):
    for scene in scenes:
        union = np.any([item.mask for item in scene.objects], axis=0)
        assert (scene.alpha[union] >= 0.5).all()
        far = scene.alpha.copy()
        far[union] = 0
        assert far.max() < 0.76  # two half-covered fringes, one over the other


def test_one_to_four_objects_inside_the_image_that_overlap_little(scenes):
    numbers = {len(scene.objects) for scene in scenes}
    assert numbers == set(range(1, MAX_OBJECTS + 1))
    for scene in scenes:
        boxes = [item.box for item in scene.objects]
        for i, box in enumerate(boxes):
            assert 0 <= box[0] < box[2] <= IMAGE_SIZE and 0 <= box[1] < box[3] <= IMAGE_SIZE
            assert all(overlap(box, other) <= MAX_OVERLAP for other in boxes[:i])


def test_sizes_span_the_range(scenes):
    sides = [max(b[2] - b[0], b[3] - b[1]) for s in scenes for b in (o.box for o in s.objects)]
    # Rotation by 12 degrees adds at most 21 % to the longest side and takes at most 8 % from it.
    assert SIZE_RANGE[0] * 0.85 <= min(sides) < 45
    assert 75 < max(sides) <= SIZE_RANGE[1] * 1.25


def test_every_class_turns_up_and_is_drawn_with_its_own_glyphs(scenes):
    items = [item for scene in scenes for item in scene.objects]
    assert {item.category for item in items} == set(range(len(CLASSES)))
    for item in items:
        assert item.glyph in POOL[CLASSES[item.category]]


def test_wobble_bends_outlines_and_leaves_the_composition_alone():
    pairs = [
        [sample_scene(np.random.default_rng([5, i]), POOL, wobble) for wobble in (0.0, 2.4)]
        for i in range(15)
    ]
    assert any((a.alpha != b.alpha).any() for a, b in pairs)
    moved = [
        np.abs(np.subtract(a.box, b.box)).max()
        for steady, wobbling in pairs
        for a, b in zip(steady.objects, wobbling.objects)
    ]
    assert np.quantile(moved, 0.9) <= 6  # one in many has to make room
    assert [s.objects[0].glyph for s, _ in pairs] == [w.objects[0].glyph for _, w in pairs]


def test_overlap_is_relative_to_the_smaller_box():
    assert overlap((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert overlap((0, 0, 10, 10), (5, 0, 9, 10)) == 1
    assert overlap((0, 0, 10, 10), (8, 0, 28, 10)) == pytest.approx(0.2)
