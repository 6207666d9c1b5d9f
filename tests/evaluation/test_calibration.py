"""Confidence against accuracy, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.evaluation.average_precision import Detected, Truth
from metaalign_det.evaluation.calibration import detection_reliability, reliability
from metaalign_det.evaluation.matching import match


def test_calibration_error_by_hand():
    # Bin (0.4, 0.5]: 0.5 confident, 1 of 2 right: no gap. Bin (0.9, 1]: 0.95, none of 2: gap 0.95.
    found = reliability([0.5, 0.5, 0.95, 0.95], [True, False, False, False])
    assert found.ece == pytest.approx(0.5 * 0.95)
    assert found.count.tolist() == [0, 0, 0, 0, 2, 0, 0, 0, 0, 2]
    assert found.accuracy[4] == 0.5
    assert np.isnan(found.accuracy[0])
    assert found.overconfidence == pytest.approx((1.0 + 1.9 - 1) / 4)


def test_scores_that_mean_what_they_say_have_no_error():
    confidence = np.repeat([0.25, 0.75], 100)
    correct = np.concatenate([np.arange(100) < 25, np.arange(100) < 75])
    assert reliability(confidence, correct).ece == pytest.approx(0.0)


def test_the_ends_of_the_range_are_inside():
    assert reliability([0.0, 1.0], [False, True], bins=4).count.tolist() == [1, 0, 0, 1]


def test_without_an_answer_there_is_no_error_to_tell():
    found = reliability([], [])
    assert np.isnan(found.ece)
    assert np.isnan(found.overconfidence)


def test_a_detection_on_a_difficult_box_does_not_count():
    truth = Truth(
        np.array([[0, 0, 9, 9], [50, 50, 59, 59.0]]), np.array([0, 0]), np.array([False, True])
    )
    found = Detected(
        np.array([[0, 0, 9, 9], [50, 50, 59, 59], [80, 80, 89, 89.0]]),
        np.zeros(3, int),
        np.array([0.9, 0.8, 0.7]),
    )
    result = detection_reliability(match([truth], [found]))
    assert result.count.sum() == 2
    assert result.ece == pytest.approx((0.1 + 0.7) / 2)


def test_answers_whose_confidence_is_not_known_are_left_out():
    found = reliability([0.8, float("nan")], [True, True])
    assert (found.count.sum(), found.ece) == (1, pytest.approx(0.2))
