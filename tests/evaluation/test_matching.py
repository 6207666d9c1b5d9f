"""One matching, the same average precision as the evaluator's, also over resampled images."""

from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.evaluation.average_precision import (
    Detected,
    Truth,
    ap_11_point,
    ap_area,
    precision_recall,
)
from metaalign_det.evaluation.matching import (
    FALSE,
    IGNORED,
    TRUE,
    average_precisions,
    match,
    resampled_mean_ap,
)

K = 3


def random_images(n: int, seed: int = 0) -> tuple[list[Truth], list[Detected]]:
    """Boxes, and detections that are jittered copies of them under partly wrong names."""
    random = np.random.default_rng(seed)
    truths, detected = [], []
    for _ in range(n):
        g = int(random.integers(0, 4))
        corner = random.uniform(0, 60, (g, 2))
        boxes = np.hstack([corner, corner + random.uniform(15, 40, (g, 2))])
        classes = random.integers(0, K, g)
        truths.append(Truth(boxes, classes, random.random(g) < 0.2))
        d = int(random.integers(0, 8))
        base = boxes[random.integers(0, g, d)] if g else random.uniform(0, 50, (d, 4)).cumsum(1)
        named = classes[random.integers(0, g, d)] if g else random.integers(0, K, d)
        jitter = base + random.normal(0, 5, (d, 4))
        detected.append(Detected(jitter, named, random.random(d).round(2)))
    return truths, detected


@pytest.mark.parametrize("average", [ap_11_point, ap_area])
def test_average_precision_is_that_of_the_evaluator(average):
    truths, detected = random_images(60)
    found = average_precisions(match(truths, detected), K, average)
    expected = [
        average(precision_recall([t.of(k) for t in truths], [d.of(k) for d in detected]))
        for k in range(K)
    ]
    assert found == pytest.approx(expected, abs=1e-12)
    assert 0.05 < np.mean(expected) < 0.95


def test_an_image_drawn_twice_counts_as_two_images():
    truths, detected = random_images(12, seed=3)
    weights = np.array([2, 0, 1] * 4)
    drawn = [i for i, w in enumerate(weights) for _ in range(w)]
    copied = match([truths[i] for i in drawn], [detected[i] for i in drawn])
    expected = np.nanmean(average_precisions(copied, K, ap_area))
    matches = match(truths, detected)
    assert resampled_mean_ap(matches, K, weights[None], ap_area) == pytest.approx([expected])
    by_class = average_precisions(matches, K, ap_area, weights)
    assert np.nanmean(by_class) == pytest.approx(expected)


def test_outcomes_and_best_boxes_of_a_small_case():
    truth = Truth(
        np.array([[0, 0, 10, 10], [50, 50, 70, 70.0]]), np.array([0, 1]), np.array([False, True])
    )
    found = Detected(
        np.array([[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 70, 70], [0, 0, 10, 10.0]]),
        np.array([0, 0, 1, 1]),
        np.array([0.5, 0.9, 0.8, 0.7]),
    )
    empty = Truth(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0, bool))
    nothing = Detected(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))
    matches = match([empty, truth], [nothing, found])
    assert matches.outcome.tolist() == [FALSE, TRUE, IGNORED, FALSE]
    assert matches.image.tolist() == [1, 1, 1, 1]
    assert matches.own_box.tolist() == [0, 0, 1, 1]
    assert matches.other_box.tolist() == [1, 1, 0, 0]
    assert matches.other_iou[3] == pytest.approx(1.0)


def test_without_images_or_detections_nothing_breaks():
    assert np.isnan(average_precisions(match([], []), K)).all()
    truths, _ = random_images(3)
    nothing = [Detected(np.zeros((0, 4)), np.zeros(0, int), np.zeros(0))] * 3
    matches = match(truths, nothing)
    assert np.nanmax(average_precisions(matches, K)) == 0.0
    assert resampled_mean_ap(matches, K, np.ones((2, 3), int)).tolist() == [0.0, 0.0]
