from __future__ import annotations

import math

import pytest
import torch

from metaalign_det.alignment.schedules import dann_ramp, schedule_value
from metaalign_det.alignment.weighting import entropy, entropy_weights, mean_over_domains


def test_entropy_of_a_uniform_and_of_a_sure_prediction():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [300.0, 0.0, 0.0, 0.0]])
    assert entropy(logits).tolist() == pytest.approx([math.log(4), 0.0])


def test_entropy_weights_by_hand():
    # Domain 0: H = log 2 and 0, so exp(-H) = 1/2 and 1. Domain 1: one example.
    logits = torch.tensor([[0.0, 0.0], [500.0, 0.0], [3.0, 1.0]])
    domains = torch.tensor([0, 0, 1])
    assert entropy_weights(logits, domains).tolist() == pytest.approx([1 / 3, 2 / 3, 1.0])
    cdan = entropy_weights(logits, domains, offset=1.0)
    assert cdan.tolist() == pytest.approx([1.5 / 3.5, 2 / 3.5, 1.0])


def test_exact_entropy_weights_have_the_gradient_of_their_value():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    values = torch.randn(4, dtype=torch.float64)
    domains = torch.tensor([0, 1, 0, 1])

    def weighted(stop: bool):
        return lambda z: (entropy_weights(z, domains, stop_gradient=stop) * values).sum()

    assert torch.autograd.gradcheck(weighted(False), logits)
    assert torch.equal(weighted(True)(logits), weighted(False)(logits))
    (published,) = torch.autograd.grad(weighted(True)(logits), logits)
    (exact,) = torch.autograd.grad(weighted(False)(logits), logits)
    assert not torch.allclose(published, exact)


def test_each_domain_counts_the_same_whatever_its_size():
    values = torch.tensor([1.0, 2.0, 3.0, 10.0])
    assert mean_over_domains(values, torch.tensor([0, 0, 0, 1])).item() == pytest.approx(6.0)
    assert mean_over_domains(values, torch.tensor([2, 2, 2, 2])).item() == pytest.approx(4.0)


def test_dann_schedule_at_known_points():
    assert schedule_value("dann", 0, 100) == 0.0
    assert schedule_value("dann", 50, 100) == pytest.approx(math.tanh(2.5))
    assert dann_ramp(1.0) == pytest.approx(2 / (1 + math.exp(-10)) - 1)
    assert schedule_value("constant", 7, 0) == 1.0


def test_bad_schedules_are_named():
    with pytest.raises(ValueError, match="unknown schedule 'linear'"):
        schedule_value("linear", 0, 10)
    with pytest.raises(ValueError, match="positive number of steps"):
        schedule_value("dann", 0, 0)
