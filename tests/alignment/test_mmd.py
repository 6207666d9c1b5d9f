from __future__ import annotations

import math

import pytest
import torch

from metaalign_det.alignment.mmd import (
    MMD,
    median_bandwidth,
    mmd_linear,
    mmd_quadratic,
)

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def column(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64).unsqueeze(1)


@pytest.mark.parametrize("estimate", [mmd_quadratic, mmd_linear])
def test_equal_samples_are_at_distance_zero(estimate):
    x = double(6, 3)
    assert abs(estimate(x, x.clone(), FACTORS, 1.0).item()) < 1e-15


def test_gradient_vanishes_at_equal_samples_and_pulls_towards_the_other_domain():
    x = double(6, 3).requires_grad_()
    (grad,) = torch.autograd.grad(mmd_quadratic(x, x.detach().clone(), FACTORS, 1.0), x)
    assert grad.abs().max() < 1e-15
    y = x.detach() + torch.tensor([0.3, 0.0, 0.0], dtype=torch.float64)
    (grad,) = torch.autograd.grad(mmd_quadratic(x, y, FACTORS, 4.0), x)
    assert grad[:, 0].sum() < 0  # descending it moves x towards y


def test_quadratic_estimate_by_hand():
    # x = 0, 2; y = 1, 1. Squared distances: within x 4, within y 0, across 1. sigma^2 = 2, c = 1.
    k = lambda d2: math.exp(-d2 / 2)  # noqa: E731
    expected = (2 + 2 * k(4)) / 4 + 1 - 2 * k(1)
    assert mmd_quadratic(column(0, 2), column(1, 1), (1.0,), 2.0).item() == pytest.approx(expected)


def test_quadratic_estimate_of_unequal_sizes_by_hand():
    # x = 0, 1; y = 0, 1, 2 with k = exp(-d^2).
    k = lambda d: math.exp(-d * d)  # noqa: E731
    expected = (2 + 2 * k(1)) / 4 + (3 + 4 * k(1) + 2 * k(2)) / 9
    expected -= 2 * (2 + 3 * k(1) + k(2)) / 6
    found = mmd_quadratic(column(0, 1), column(0, 1, 2), (1.0,), 1.0)
    assert found.item() == pytest.approx(expected)


def test_linear_estimate_by_hand():
    # One quadruple x = 0, 3; y = 1, 2; the fifth x and third y are left out.
    k = lambda d: math.exp(-d * d / 4)  # noqa: E731
    expected = k(3) + k(1) - k(2) - k(2)
    found = mmd_linear(column(0, 3, 9), column(1, 2, 7), (2.0,), 2.0)
    assert found.item() == pytest.approx(expected)


def test_linear_and_quadratic_estimates_agree_on_large_samples():
    x, y = double(800, 1), double(800, 1) + 1.5
    quadratic = mmd_quadratic(x, y, (1.0,), 2.0).item()
    assert mmd_linear(x, y, (1.0,), 2.0).item() == pytest.approx(quadratic, rel=0.25)


def test_several_kernels_add():
    x, y = double(4, 2), double(5, 2)
    parts = sum(mmd_quadratic(x, y, (c,), 1.0) for c in FACTORS)
    assert mmd_quadratic(x, y, FACTORS, 1.0).item() == pytest.approx(parts.item())


@pytest.mark.parametrize("estimate", [mmd_quadratic, mmd_linear])
def test_gradient_and_second_derivative_match_finite_differences(estimate):
    x, y = double(4, 2).requires_grad_(), double(4, 2).requires_grad_()

    def value(a, b):
        return estimate(a, b, (0.5, 2.0), 1.5)

    assert torch.autograd.gradcheck(value, (x, y))
    assert torch.autograd.gradgradcheck(value, (x, y))


def test_median_bandwidth_ignores_zeros_and_survives_coinciding_points():
    assert median_bandwidth(torch.tensor([0.0, 1.0, 5.0, 3.0])).item() == 3.0
    assert median_bandwidth(torch.zeros(4)).item() == 1.0


def test_median_bandwidth_makes_the_distance_free_of_scale():
    x, y = double(6, 3), double(6, 3) + 1
    found = [mmd_quadratic(s * x, s * y, FACTORS).item() for s in (1.0, 1000.0)]
    assert found[0] == pytest.approx(found[1])


def test_more_domains_are_the_mean_over_pairs():
    f = double(6, 3)
    domains = torch.tensor([0, 1, 2, 0, 1, 2])
    method = MMD(3, 4, 3, bandwidth=1.0)
    loss = method(f, double(6, 4), domains, weight=0.7, reverse=False)["loss_mmd"].loss
    a, b, c = (f[domains == d] for d in range(3))
    pairs = [mmd_quadratic(x, y, FACTORS, 1.0) for x, y in ((a, b), (a, c), (b, c))]
    assert loss.item() == pytest.approx(sum(pairs).item() / 3)


def test_the_term_is_explicit():
    f = double(4, 3)
    terms = MMD(3, 4)(f, f, torch.tensor([0, 0, 1, 1]), weight=0.5, reverse=True)
    assert not terms["loss_mmd"].adversarial and terms["loss_mmd"].weight == 0.5


@pytest.mark.parametrize("estimator", ["quadratic", "linear"])
def test_one_example_of_a_domain_is_refused(estimator):
    method = MMD(3, 4, estimator=estimator)
    with pytest.raises(ValueError, match="at least 2 examples .* domain 1 has 1"):
        method(double(3, 3), double(3, 4), torch.tensor([0, 0, 1]), weight=1.0, reverse=False)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="unknown MMD estimator 'cubic'"):
        MMD(3, 4, estimator="cubic")
    with pytest.raises(ValueError, match="positive factor"):
        MMD(3, 4, factors=())
