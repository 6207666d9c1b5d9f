"""Means, intervals and tests, against textbook numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest

from metaalign_det.reports.statistics import (
    Interval,
    bootstrap_interval,
    image_weights,
    paired_difference,
    percentile_interval,
    sign_test,
    t_interval,
)


def test_t_interval_of_three_values():
    # t_{0.975, 2} = 4.302653; mean 2, sd 1.
    low, high = t_interval([1.0, 2.0, 3.0])
    half = 4.302653 / math.sqrt(3)
    assert (low, high) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_one_value_has_no_interval_and_decides_nothing():
    interval = t_interval([1.0, math.nan])
    assert math.isnan(interval.low)
    assert not interval.excludes_zero


def test_seeds_that_gain_the_same_number_of_images_are_not_certain():
    found = paired_difference({0: 50.0, 1: 60.0}, {0: 50.5, 1: 60.5})
    assert found.mean == 0.5
    assert math.isnan(found.interval.low)
    assert not found.interval.excludes_zero


def test_an_interval_on_one_side_of_zero_says_so():
    assert Interval(0.1, 2.0).excludes_zero
    assert Interval(-2.0, -0.1).excludes_zero
    assert not Interval(-1.0, 1.0).excludes_zero


def test_sign_test_is_two_sided_and_leaves_ties_out():
    assert sign_test([1, 2, 3, 4, 5]) == pytest.approx(2 * 0.5**5)
    assert sign_test([1, 2, 0.0]) == pytest.approx(0.5)
    assert sign_test([1, -1]) == pytest.approx(1.0)
    assert math.isnan(sign_test([0.0]))


def test_pairs_are_matched_by_seed_whatever_their_order():
    found = paired_difference({0: 10.0, 1: 20.0, 2: 5.0}, {1: 23.0, 0: 11.0, 7: 0.0})
    assert found.values == {0: 1.0, 1: 3.0}
    assert found.mean == 2.0
    assert found.sd == pytest.approx(math.sqrt(2))
    assert (found.wins, found.losses, found.ties) == (2, 0, 0)
    # t_{0.975, 1} = 12.7062; sd / sqrt(2) = 1.
    assert found.interval == pytest.approx((2 - 12.7062, 2 + 12.7062), abs=1e-3)


def test_pairs_without_a_value_are_left_out():
    found = paired_difference({0: 1.0, 1: math.nan}, {0: 1.0, 1: 2.0})
    assert (found.wins, found.losses, found.ties) == (0, 0, 1)
    assert paired_difference({0: 1.0}, {1: 1.0}).values == {}


def test_bootstrap_of_a_mean_is_close_to_its_normal_interval():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)

    def interval(seed):
        random = np.random.default_rng(seed)
        return bootstrap_interval(lambda rows: values[rows].mean(axis=1), 400, random)

    half = 1.96 * values.std(ddof=1) / 20
    assert interval(0) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.05)
    assert interval(3) == interval(3)
    one = bootstrap_interval(lambda rows: rows.mean(axis=1), 1, np.random.default_rng(0))
    assert math.isnan(one.low)


def test_resampled_images_keep_their_number():
    weights = image_weights(50, 20)
    assert weights.shape == (20, 50)
    assert (weights.sum(axis=1) == 50).all()
    assert (weights == image_weights(50, 20)).all()


def test_percentiles_leave_nan_out():
    assert percentile_interval([math.nan, *range(101)], 0.9) == pytest.approx((5.0, 95.0))
    assert math.isnan(percentile_interval([math.nan]).high)
