from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.explain import attention_pictures
from metaalign_det.explain.attention_share import (
    AttentionMeter,
    box_mask,
    estimate,
    focus_difference,
)
from metaalign_det.explain.attention_study import Attention

RNG = np.random.default_rng


def masks(count=8, size=64):
    out = []
    for i in range(count):
        box = np.array([[4.0 * i, 8, 4 * i + 16, 40]])
        out.append(box_mask(box, size, size))
    return out


def meter(maps, of=None):
    one = AttentionMeter()
    for i, (m, mask) in enumerate(zip(maps, of or masks(len(maps)))):
        one.add(i, m, mask)
    return one


def test_a_box_mask_is_the_union_and_stays_in_the_picture():
    mask = box_mask(np.array([[-5.0, -5, 3, 2], [2, 0, 4, 2]]), 10, 10)
    assert mask.sum() == 8
    assert mask[:2, :4].all()


def test_even_attention_is_at_chance():
    summary = meter([np.ones((64, 64))] * 8).summary(RNG(0))
    assert summary["focus"].value == pytest.approx(1)
    assert summary["focus"].low == pytest.approx(1)
    assert summary["focus_other_boxes"] == pytest.approx(1, abs=1e-4)
    assert summary["share"] == pytest.approx(summary["area"])


def test_attention_on_objects_alone_has_the_inverse_of_their_area():
    summary = meter([m.astype(float) for m in masks()]).summary(RNG(0))
    assert summary["share"] == 1
    assert summary["focus"].value == pytest.approx(1 / summary["area"])
    assert summary["focus_other_boxes"] < 0.7 * summary["focus"].value


def test_attention_around_objects_is_at_zero():
    assert meter([1.0 - m for m in masks()]).summary(RNG(0))["focus"].value == 0


def test_images_without_attention_or_boxes_are_left_out_and_counted():
    one = AttentionMeter()
    assert np.isnan(one.add(0, np.zeros((64, 64)), masks(1)[0]))
    assert np.isnan(one.add(1, np.ones((64, 64)), np.zeros((64, 64), bool)))
    assert np.isnan(one.add(2, np.ones((64, 64)), None))
    assert one.summary(RNG(0)) == {}
    one.add(3, np.ones((64, 64)), masks(1)[0])
    summary = one.summary(RNG(0))
    assert (summary["images"], summary["empty"]) == (1, 1)


def test_a_run_minus_itself_is_exactly_zero():
    one = meter([np.random.default_rng(i).random((64, 64)) for i in range(8)])
    difference = focus_difference(one, one, RNG(0))
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_a_difference_is_over_common_images():
    inside = meter([m.astype(float) for m in masks()])
    even = meter([np.ones((64, 64))] * 3)
    difference = focus_difference(even, inside, RNG(0))
    area = np.mean([m.mean() for m in masks()[:3]])
    assert difference.value == pytest.approx(1 / area - 1)
    assert focus_difference(even, AttentionMeter(), RNG(0)) is None


def test_overlap_is_one_with_itself_and_less_elsewhere():
    one = meter([m.astype(float) for m in masks()])
    own, elsewhere = one.overlap(one)
    assert own == pytest.approx(1, abs=1e-5)
    assert elsewhere < 0.8


def test_a_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    inside = 0
    for seed in range(100):
        x = np.random.default_rng(seed).normal(1, 2, 40)
        found = estimate(lambda rows, x=x: x[rows].mean(1), len(x), RNG(seed))
        inside += found.low <= 1 <= found.high
    assert 86 <= inside <= 100


def test_is_the_same_for_the_same_seed():
    one = meter([np.random.default_rng(i).random((64, 64)) for i in range(8)])
    assert one.summary(RNG(3)) == one.summary(RNG(3))


def test_the_chart_of_focus_has_every_run_however_many(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(attention_pictures, "save", lambda figure, path: drawn.append(figure))
    summary = meter([m.astype(float) for m in masks()]).summary(RNG(0))
    numbers = {f"run {i}": {"task": {"layercam": summary}} for i in range(9)}
    attention_pictures.draw_focus(tmp_path / "x.png", numbers, "layercam", ["task"])
    named = [t.get_text() for t in drawn[0].axes[0].get_legend().get_texts()]
    assert set(numbers) <= set(named)


def test_a_map_that_an_image_lacks_shifts_no_other(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        attention_pictures, "blend", lambda image, a: drawn.append((image, a)) or image
    )
    images = [np.full((20, 30, 3), value, np.uint8) for value in (10, 20, 30)]
    maps = {0: np.full((20, 30), 1.0), 2: np.full((20, 30), 3.0)}
    study = Attention("run", shown={"global": {"layercam": maps}})
    args = (images, [None] * 3, [study], "layercam", ["global"], "title")
    attention_pictures.draw_attention(tmp_path / "grid.png", *args)
    assert [(i[0, 0, 0], a[0, 0]) for i, a in drawn] == [(10, 1.0), (30, 3.0)]
    assert (tmp_path / "grid.png").is_file()
