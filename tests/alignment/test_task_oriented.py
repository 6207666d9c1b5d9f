from __future__ import annotations

import torch

from metaalign_det.alignment.task_oriented import task_oriented_features


def test_two_features_by_hand():
    # f = (3, 4), and the logit of class 1 is 2 f_0 - f_1, so w f = (6, -4) and |f| / |w f| =
    # 5 / sqrt(52).
    weight = torch.tensor([[1.0, 1.0], [2.0, -1.0]], dtype=torch.float64)
    f = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    found = task_oriented_features(f, torch.tensor([1]), lambda x: x @ weight.T)
    expected = torch.tensor([[6.0, -4.0]], dtype=torch.float64) * 5 / 52**0.5
    torch.testing.assert_close(found, expected)


def test_examples_keep_their_length_and_one_of_which_nothing_is_read_is_zero():
    layer = torch.nn.Linear(4, 3)
    f = torch.randn(6, 4)
    f[2] = 0
    f.requires_grad_()
    found = task_oriented_features(f, torch.tensor([0, 1, 2, 0, 1, 2]), layer)
    torch.testing.assert_close(found.norm(dim=1), f.norm(dim=1))
    (gradient,) = torch.autograd.grad(found.square().sum(), f, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), f)
    assert gradient.isfinite().all() and second.isfinite().all()


def test_weights_are_constants_and_lengths_are_not():
    """d f_p / d f with w held is that of s(f) w * f."""
    layer = torch.nn.Linear(3, 2).double()
    f = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 1, 0])
    assert torch.autograd.gradcheck(lambda x: task_oriented_features(x, labels, layer), f)
    loss = task_oriented_features(f, labels, layer).sum()
    assert torch.autograd.grad(loss, layer.weight, allow_unused=True) == (None,)
