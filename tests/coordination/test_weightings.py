"""Weights of two gradients, worked by hand on two parameters."""

from __future__ import annotations

import math

import pytest
import torch

from metaalign_det.coordination.weightings import WEIGHTINGS, GradVac, NashMTL, PCGrad

G = torch.tensor([1.0, 0.0], dtype=torch.float64)
CONFLICT = torch.tensor([-1.0, 2.0], dtype=torch.float64)  # <g, v> = -1, |v|^2 = 5
AGREE = torch.tensor([1.0, 2.0], dtype=torch.float64)


def gramian(g, v):
    return torch.stack([g, v]) @ torch.stack([g, v]).T


def update(weighting, g, v):
    w = weighting(gramian(g, v))
    return w[0] * g + w[1] * v


def build(name):
    if name in ("mgda", "cagrad", "upgrad"):
        pytest.importorskip("torchjd")
    return WEIGHTINGS[name]()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_orthogonal_gradients_of_one_length_are_joint_training(name):
    weights = build(name)(torch.eye(2, dtype=torch.float64))
    expected = 1.4 if name == "cagrad" else 1.0  # CAGrad goes c = 0.4 beyond the mean
    assert weights.tolist() == pytest.approx([expected] * 2, abs=0.02)


def test_pcgrad_projects_each_gradient_onto_the_normal_plane_of_the_other():
    # g + v/5 + v + g = 2 g + 1.2 v
    expected = (G + CONFLICT / 5) + (CONFLICT + G)
    torch.testing.assert_close(update(PCGrad(), G, CONFLICT), expected)
    assert torch.dot(G + CONFLICT / 5, CONFLICT) == pytest.approx(0, abs=1e-12)


def test_pcgrad_leaves_gradients_that_agree_alone():
    torch.testing.assert_close(update(PCGrad(), G, AGREE), G + AGREE)


def test_gradvac_turns_each_gradient_to_the_running_mean_of_the_cosine():
    weighting = GradVac(beta=0.5)
    update(weighting, G, AGREE)
    phi = 0.5 / math.sqrt(5)
    assert weighting.mean == pytest.approx(phi)
    w = weighting(gramian(G, CONFLICT))
    turned_g = G + (w[1] - 1) * CONFLICT  # what v's direction was added to g
    turned_v = CONFLICT + (w[0] - 1) * G
    for a, b in ((turned_g, CONFLICT), (turned_v, G)):
        assert torch.dot(a, b) / (a.norm() * b.norm()) == pytest.approx(phi)


def test_gradvac_continues_from_its_state():
    first, second = GradVac(), GradVac()
    first(gramian(G, AGREE))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(gramian(G, CONFLICT)), second(gramian(G, CONFLICT)))


def test_nash_gives_each_gradient_the_same_gain_in_proportion():
    # The solution of G w = 1 / w up to scale: w_0 |g| = w_1 |v|.
    w = NashMTL()(gramian(G, CONFLICT))
    assert w[0] * 1.0 == pytest.approx((w[1] * math.sqrt(5)).item())
    unscaled = w / w[0] / math.sqrt(1 - 1 / math.sqrt(5))
    torch.testing.assert_close(gramian(G, CONFLICT) @ unscaled, 1 / unscaled)


def test_mgda_is_twice_the_shortest_vector_between_them():
    # gamma = <v - g, v> / |g - v|^2 = 6 / 8
    expected = 2 * (0.75 * G + 0.25 * CONFLICT)
    torch.testing.assert_close(update(build("mgda"), G, CONFLICT), expected, atol=5e-3, rtol=0)


def test_upgrad_is_pcgrad_for_two_gradients():
    torch.testing.assert_close(
        update(build("upgrad"), G, CONFLICT), update(PCGrad(), G, CONFLICT), atol=5e-3, rtol=0
    )


def test_cagrad_improves_the_worse_of_the_two_over_the_mean():
    d = update(build("cagrad"), G, CONFLICT)
    mean = G + CONFLICT
    assert min(torch.dot(d, G), torch.dot(d, CONFLICT)) > min(
        torch.dot(mean, G), torch.dot(mean, CONFLICT)
    )
    assert (d - mean).norm() <= 0.4 * mean.norm() * 1.01


def test_without_torchjd_the_error_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ValueError, match=r"metaalign_det\[coordinators\]"):
        WEIGHTINGS["upgrad"]()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_length_of_both_gradients_together_changes_no_weight(name):
    long, short = (build(name)(scale * gramian(G, CONFLICT)) for scale in (1.0, 1e-12))
    torch.testing.assert_close(short, long, atol=1e-6, rtol=0)


@pytest.mark.parametrize("g, v", [(1e-6 * G, CONFLICT), (CONFLICT, 1e-6 * G)], ids=["g", "v"])
def test_cagrad_is_joint_training_where_one_gradient_is_far_shorter(g, v):
    torch.testing.assert_close(update(build("cagrad"), g, v), g + v)
