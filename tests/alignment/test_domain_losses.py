from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from metaalign_det.alignment.domain_losses import DOMAIN_LOSSES, domain_accuracy, domain_loss


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_focal_loss_with_gamma_zero_is_cross_entropy(columns):
    logits = double(4, columns, 2, 3)
    focal = domain_loss("focal", logits, 1, gamma=0.0, reduction="none")
    assert torch.equal(focal, domain_loss("bce", logits, 1, reduction="none"))


@pytest.mark.parametrize("domain", [0, 1])
def test_least_squares_is_the_squared_distance_of_the_sigmoid_to_the_domain(domain):
    logits = double(2, 1, 3, 4)
    expected = (logits.sigmoid() - domain).square().mean()
    assert domain_loss("least_squares", logits, domain).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("domain", [0, 1])
def test_one_logit_is_binary_cross_entropy(domain):
    logits = double(5, 1)
    expected = F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, domain))
    assert domain_loss("bce", logits, domain).item() == pytest.approx(expected.item())


@pytest.mark.parametrize("kind", DOMAIN_LOSSES)
def test_one_logit_equals_two_columns_with_a_zero(kind):
    z = double(5, 1)
    pair = torch.cat([torch.zeros_like(z), z], dim=1)
    assert torch.allclose(domain_loss(kind, z, 0), domain_loss(kind, pair, 0), rtol=1e-14)


def test_focal_loss_by_hand():
    logits = torch.tensor([[0.0, math.log(3.0)]])  # p = (1/4, 3/4)
    assert domain_loss("focal", logits, 1, gamma=2).item() == pytest.approx(
        0.25**2 * math.log(4 / 3)
    )
    assert domain_loss("focal", logits, 0, gamma=2).item() == pytest.approx(0.75**2 * math.log(4))


@pytest.mark.parametrize("kind", DOMAIN_LOSSES)
def test_domains_by_example_equal_domains_apart(kind):
    logits = double(4, 1, 2, 2)
    together = domain_loss(kind, logits, torch.tensor([0, 0, 1, 1]))
    apart = (domain_loss(kind, logits[:2], 0) + domain_loss(kind, logits[2:], 1)) / 2
    assert torch.allclose(together, apart, rtol=1e-14)


@pytest.mark.parametrize("kind", DOMAIN_LOSSES)
def test_gradients_match_finite_differences_to_second_order(kind):
    logits = double(2, 1, 2, 2).requires_grad_()
    labels = torch.tensor([0, 1])
    assert torch.autograd.gradcheck(lambda x: domain_loss(kind, x, labels, gamma=3.0), logits)
    assert torch.autograd.gradgradcheck(lambda x: domain_loss(kind, x, labels, gamma=3.0), logits)


@pytest.mark.parametrize("kind", DOMAIN_LOSSES)
@pytest.mark.parametrize("gamma", [0.5, 5.0])
def test_loss_and_gradient_stay_finite_for_a_discriminator_that_is_sure(kind, gamma):
    logits = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    loss = domain_loss(kind, logits, 1, gamma=gamma)
    (grad,) = torch.autograd.grad(loss, logits)
    assert torch.isfinite(loss) and torch.isfinite(grad).all()


def test_no_examples_give_zero_that_can_be_differentiated():
    logits = torch.zeros(0, 1, requires_grad=True)
    loss = domain_loss("bce", logits, 0)
    loss.backward()
    assert loss.item() == 0.0 and logits.grad.shape == (0, 1)


def test_accuracy_by_domain():
    logits = torch.tensor([[1.0], [-1.0], [2.0], [3.0]])
    assert domain_accuracy(logits, 1).item() == pytest.approx(0.75)
    assert domain_accuracy(logits, 0).item() == pytest.approx(0.25)
    assert domain_accuracy(torch.eye(3), torch.tensor([0, 1, 0])).item() == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("hinge", torch.zeros(1, 1), 0), "unknown domain loss 'hinge'"),
        (("bce", torch.zeros(1, 1), True), "not a bool"),
        (("bce", torch.zeros(1, 1), 2), "do not fit a discriminator of 2"),
        (("bce", torch.zeros(2, 1), torch.tensor([0])), r"of shape \(2,\)"),
        (("bce", torch.zeros(3), 0), r"have shape \(N, 1"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        domain_loss(*arguments)
    with pytest.raises(ValueError, match="gamma"):
        domain_loss("focal", torch.zeros(1, 1), 0, gamma=-1)
    with pytest.raises(ValueError, match="reduction"):
        domain_loss("bce", torch.zeros(1, 1), 0, reduction="median")
