"""Why there is no gradient reversal layer anywhere in the lookahead."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.alignment.gradient_reversal import grad_reverse
from metaalign_det.coordination import StageGroups
from metaalign_det.loss_term import LossTerm
from tests.coordination.toys import alignment_value, coordinated_step, relative_error, toy


class NaiveReversal(torch.autograd.Function):
    """A reversal layer that lets itself be differentiated twice, as one would write it."""

    @staticmethod
    def forward(ctx, x, scale):
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    def backward(ctx, grad):
        return -ctx.scale * grad, None


def test_reversal_gives_a_wrong_second_derivative_on_a_scalar():
    # feature f = theta = 2, L_D = f^2 / 2, L_task = theta'^2 / 2, alpha = 0.1, lambda = 0.5
    theta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    feature = NaiveReversal.apply(theta, 0.5)
    (g,) = torch.autograd.grad(0.5 * feature**2, theta, create_graph=True)
    (wrong,) = torch.autograd.grad(0.5 * (theta - 0.1 * g) ** 2, theta)
    assert wrong.item() == pytest.approx(2.0475, rel=1e-12)

    # theta' = theta (1 + alpha lambda): d/dtheta of theta'^2 / 2 is theta 1.05^2
    phi = torch.zeros((), dtype=torch.float64, requires_grad=True)
    result = coordinated_step(
        lambda p: {"task": 0.5 * p["theta"] ** 2},
        lambda p: {"d": LossTerm(0.5 * (p["theta"] + p["phi"]) ** 2, 0.5, owner="phi")},
        {"theta": theta, "phi": phi},
        StageGroups({"theta": ["theta"]}),
        [1.0],
        0.1,
        order="exact",
    )
    alignment_gradient = -0.5 * theta.item()
    right = result.gradients["theta"].item() - alignment_gradient
    assert right == pytest.approx(2.205, rel=1e-12)


def test_ours_refuses_to_be_differentiated_twice():
    x = torch.ones(3, requires_grad=True)
    (g,) = torch.autograd.grad((grad_reverse(x, 0.5) ** 2).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_differentiated_once_reversal_and_signs_agree():
    t = toy(lambdas=(0.7, 0.7), distance=0.0)
    names = [n for n in t.params if n.startswith("stage")]
    by_sign = torch.autograd.grad(
        alignment_value(t.alignment(t.params)), [t.params[n] for n in names]
    )
    original = t.model.features
    t.model.features = lambda x: tuple(grad_reverse(f, 0.7) for f in original(x))
    reversed_sum = sum(term.loss for term in t.alignment(t.params).values())
    by_layer = torch.autograd.grad(reversed_sum, [t.params[n] for n in names])
    for a, b in zip(by_sign, by_layer):
        assert relative_error(a, b) < 1e-14
