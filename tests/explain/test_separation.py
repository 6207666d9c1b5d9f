from __future__ import annotations

import numpy as np
import pytest
import torch

from metaalign_det.alignment.mmd import mmd_quadratic
from metaalign_det.explain import separation
from metaalign_det.explain.feature_pictures import draw_separation
from metaalign_det.explain.features import Features
from metaalign_det.explain.separation import (
    domain_accuracy,
    measure_separation,
    mmd_of_kernel,
    nearest_class,
    silhouette,
    standardized,
)


@pytest.fixture(autouse=True)
def _few_permutations(monkeypatch):
    monkeypatch.setattr(separation, "_PERMUTATIONS", 40)
    monkeypatch.setattr(separation, "_REFITS", 5)


def cloud(shift=0.0, apart=0.0, n=60, width=5, seed=0):
    """Two domains ``shift`` apart in one direction, three classes ``apart`` in the others."""
    rng = np.random.default_rng(seed)
    domains = np.repeat([0, 1], n)
    classes = np.tile([0, 1, 2], 2 * n // 3)
    x = rng.normal(size=(2 * n, width))
    x[:, 0] += shift * domains
    x[np.arange(2 * n), 1 + classes] += apart
    return Features(x, domains, classes)


def test_domains_of_one_distribution_are_within_chance():
    found = measure_separation(cloud(seed=1))
    assert not found["domain_accuracy"].value > 0.65
    assert not found["mmd"].beyond_chance()
    assert not found["nearest_class"].beyond_chance()
    assert found["domain_accuracy"].chance == pytest.approx(0.5, abs=0.07)
    assert found["nearest_class"].chance == pytest.approx(1 / 3, abs=0.05)


def test_domains_far_apart_are_told_apart_perfectly():
    found = measure_separation(cloud(shift=20))
    assert found["domain_accuracy"].value == 1
    assert found["proxy_a_distance"].value == 2
    assert found["mmd"].beyond_chance()


def test_classes_far_apart_show_in_silhouette_and_across_domains():
    found = measure_separation(cloud(apart=12))
    assert found["silhouette"].value > 0.4
    assert found["silhouette_target"].value > 0.4
    assert found["nearest_class"].value == 1
    assert found["silhouette"].beyond_chance()


def test_unknown_classes_are_not_measured():
    known = cloud()
    found = measure_separation(Features(known.x, known.domains, np.full(len(known.x), -1)))
    assert set(found) == {"domain_accuracy", "proxy_a_distance", "mmd"}


def test_a_target_of_one_class_has_no_silhouette_and_can_be_drawn(tmp_path):
    known = cloud(n=15)
    classes = np.where(known.domains == 1, 0, known.classes)
    found = measure_separation(Features(known.x, known.domains, classes))
    assert "silhouette_target" not in found and np.isfinite(found["silhouette"].value)
    draw_separation(tmp_path / "separation.png", {"image": {"run": found}})
    assert (tmp_path / "separation.png").is_file()


def test_mmd_of_a_kernel_is_the_alignment_rooms_own():
    features = cloud(shift=1)
    kernel, _ = separation._kernel(features.x)
    s, t = (torch.from_numpy(features.x[features.domains == d]) for d in (0, 1))
    expected = float(mmd_quadratic(s, t, separation._FACTORS))
    assert mmd_of_kernel(kernel, features.domains) == pytest.approx(expected, rel=1e-6)


def test_accuracy_does_not_depend_on_units():
    features = cloud(shift=1.5)
    scaled = features.x * np.array([1e3, 1e-3, 1, 5, 1])
    accuracies = {domain_accuracy(standardized(x), features.domains) for x in (features.x, scaled)}
    assert len(accuracies) == 1


def test_constant_features_become_zero():
    assert np.array_equal(standardized(np.full((4, 2), 7.0)), np.zeros((4, 2)))


def test_hand_worked_neighbors_and_silhouette():
    distances = np.array([[1.0, 2.0], [3.0, 0.5]])
    assert nearest_class(distances, np.array([0, 0]), np.array([0, 1])) == 0.5
    assert np.isnan(silhouette(np.zeros((3, 3)), np.array([1, 1, 1])))
    pairs = np.array([[0, 1, 4, 4], [1, 0, 4, 4], [4, 4, 0, 1], [4, 4, 1, 0.0]])
    assert silhouette(pairs, np.array([0, 0, 1, 1])) == pytest.approx(0.75)


def test_is_the_same_for_the_same_seed():
    few = cloud(shift=1, n=15)
    assert measure_separation(few, 3) == measure_separation(few, 3)
