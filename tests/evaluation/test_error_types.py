"""The six types of error and what they cost, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.evaluation.average_precision import Detected, Truth, ap_area
from metaalign_det.evaluation.error_types import (
    ERROR_TYPES,
    FALSE_POSITIVE_TYPES,
    break_down,
    classify_errors,
)
from metaalign_det.evaluation.matching import match

from .test_matching import random_images

CAT, DOG = 0, 1
BOX = [0, 0, 99, 99]  # inclusive pixels: 100 x 100
FAR = [200, 200, 299, 299]


def image(objects, detections, difficult=()):
    """One image from (box, class) and (box, class, score)."""
    truth = Truth(
        np.array([b for b, _ in objects], float).reshape(-1, 4),
        np.array([k for _, k in objects], int),
        np.array([i in difficult for i in range(len(objects))], bool),
    )
    found = Detected(
        np.array([b for b, _, _ in detections], float).reshape(-1, 4),
        np.array([k for _, k, _ in detections], int),
        np.array([s for _, _, s in detections], float),
    )
    return [truth], [found]


def kinds(*case, **kwargs):
    kind, missed = classify_errors(match(*image(*case, **kwargs)))
    return [FALSE_POSITIVE_TYPES[k] if k >= 0 else "" for k in kind], missed.tolist()


def shifted(pixels):
    """BOX moved to the right: overlap (100 - p) / (100 + p)."""
    return [pixels, 0, 99 + pixels, 99]


@pytest.mark.parametrize(
    ("detection", "expected", "missed"),
    [
        ((BOX, CAT), "", False),
        ((shifted(50), CAT), "localization", False),  # IoU 1/3 with its own class
        ((BOX, DOG), "classification", False),
        ((shifted(50), DOG), "both", True),
        ((FAR, CAT), "background", True),
        ((shifted(90), CAT), "background", True),  # IoU 1/19 < 0.1
    ],
)
def test_each_type_by_name_and_frame(detection, expected, missed):
    found, missing = kinds([(BOX, CAT)], [(*detection, 0.9)])
    assert (found, missing) == ([expected], [missed])


def test_the_second_best_on_a_box_is_a_duplicate():
    found, missed = kinds([(BOX, CAT)], [(shifted(5), CAT, 0.6), (BOX, CAT, 0.5)])
    assert found == ["", "duplicate"]
    assert missed == [False]


def test_localization_goes_before_classification():
    objects = [(BOX, CAT), (shifted(40), DOG)]
    found, missed = kinds(objects, [(BOX, DOG, 0.9)])
    assert found == ["localization"]
    assert missed == [True, False]


def test_a_detection_on_a_difficult_box_is_no_error_and_the_box_is_not_missed():
    assert kinds([(BOX, CAT)], [(BOX, CAT, 0.9)], difficult=[0]) == ([""], [False])


def costs(objects, detections, **kwargs):
    return break_down(match(*image(objects, detections)), 2, average=ap_area, **kwargs)


def test_a_wrong_name_costs_the_box_it_is_on():
    # Cat: one of one found. Dog: its box is called a cat, with the lower score: AP 1 and 0.
    result = costs([(BOX, CAT), (FAR, DOG)], [(BOX, CAT, 0.9), (FAR, CAT, 0.8)])
    assert result.ap == pytest.approx(50.0)
    assert result.cost == pytest.approx(
        {
            "localization": 0.0,
            "classification": 50.0,
            "duplicate": 0.0,
            "background": 0.0,
            "both": 0.0,
            "missed": 0.0,  # the wrong name already explains why the dog was not found
        }
    )
    assert result.main == "classification"
    assert result.count["classification"] == 1
    assert result.count_by_class["classification"].tolist() == [1, 0]
    assert result.false_negative_cost == pytest.approx(50.0)


def test_a_false_alarm_above_the_hit_costs_half_the_precision():
    # Ranking: background 0.9, hit 0.5: precision 1/2 at recall 1.
    result = costs([(BOX, CAT)], [(FAR, CAT, 0.9), (BOX, CAT, 0.5)])
    assert result.ap == pytest.approx(50.0)
    assert result.cost["background"] == pytest.approx(50.0)
    assert result.false_positive_cost == pytest.approx(50.0)
    assert result.false_negative_cost == pytest.approx(0.0)


def test_a_missed_box_costs_its_recall():
    # One of two found: AP 1/2; asked for one only, AP 1.
    result = costs([(BOX, CAT), (FAR, CAT)], [(BOX, CAT, 0.9)])
    assert result.ap == pytest.approx(50.0)
    assert result.cost["missed"] == pytest.approx(50.0)
    assert result.count["missed"] == 1


def test_a_badly_framed_box_is_taken_away_where_another_has_found_the_object():
    # Localization 0.9, hit 0.5 on the same box, background 0.7: without the first, precision is
    # 1/2 instead of 1/3. Were it to take the place of the hit, it would be 1.
    found = [(shifted(50), CAT, 0.9), (FAR, CAT, 0.7), (BOX, CAT, 0.5)]
    result = costs([(BOX, CAT)], found)
    assert result.ap == pytest.approx(100 / 3)
    assert result.cost["localization"] == pytest.approx(50 - 100 / 3)


def test_of_several_badly_framed_boxes_the_best_becomes_the_hit():
    # Two localizations on one box, background between them: fixed, the first counts, AP 1.
    found = [(shifted(50), CAT, 0.9), (FAR, CAT, 0.7), (shifted(40), CAT, 0.5)]
    result = costs([(BOX, CAT)], found)
    assert result.ap == 0.0
    assert result.cost["localization"] == pytest.approx(100.0)


def test_a_duplicate_below_the_hit_costs_nothing():
    result = costs([(BOX, CAT)], [(BOX, CAT, 0.9), (shifted(5), CAT, 0.5)])
    assert result.cost["duplicate"] == pytest.approx(0.0)
    assert result.count["duplicate"] == 1


def test_a_class_that_is_missed_altogether_is_perfect_once_not_asked_for():
    result = costs([(BOX, CAT), (FAR, DOG)], [(BOX, CAT, 0.9)])
    assert result.ap == pytest.approx(50.0)
    assert result.cost["missed"] == pytest.approx(50.0)


def test_every_false_positive_has_one_type_and_no_fix_makes_anything_worse():
    truths, detected = random_images(80, seed=5)
    matches = match(truths, detected)
    result = break_down(matches, 3)
    assert set(result.cost) == set(ERROR_TYPES)
    false = (matches.outcome == 0).sum()
    assert sum(result.count[k] for k in FALSE_POSITIVE_TYPES) == false > 20
    assert all(cost >= -1e-9 for cost in result.cost.values())
    assert result.ap + max(result.cost.values()) <= 100.0 + 1e-9


def test_nothing_detected_is_all_missed():
    result = costs([(BOX, CAT), (FAR, DOG)], [])
    assert result.ap == 0.0
    assert result.count["missed"] == 2
    assert result.cost["missed"] == pytest.approx(100.0)


def test_one_box_is_won_by_one_error_whatever_its_type():
    # A cat, badly framed at 0.9 and called dog at 0.8: fixed names only take the dog away, which
    # is no gain for cats; fixed frames find the cat.
    result = costs([(BOX, CAT)], [(shifted(50), CAT, 0.9), (BOX, DOG, 0.8)])
    assert result.ap == 0.0
    assert result.cost["classification"] == pytest.approx(0.0)
    assert result.cost["localization"] == pytest.approx(100.0)
