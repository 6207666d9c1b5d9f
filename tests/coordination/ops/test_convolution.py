"""The convolution with fast second derivatives is torch's own, up to rounding."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck, gradgradcheck

from metaalign_det.coordination.ops.convolution import FastSecondDerivatives

CASES = [
    # channels in, out, kernel, then arguments of conv2d
    (3, 4, 3, {"padding": 1}),
    (3, 4, 1, {}),
    (3, 4, 1, {"stride": 2}),
    (3, 4, 3, {"stride": (2, 1), "padding": (0, 1)}),
    (4, 6, 3, {"padding": 2, "dilation": 2, "groups": 2}),
]


def tensors(c, k, kernel, kwargs, dtype=torch.float64):
    x = torch.randn(2, c, 5, 6, dtype=dtype, requires_grad=True)
    w = torch.randn(k, c // kwargs.get("groups", 1), kernel, kernel, dtype=dtype)
    return x, w.requires_grad_(), torch.randn(k, dtype=dtype, requires_grad=True)


def fast(**kwargs):
    def conv(*args):
        with FastSecondDerivatives():
            return F.conv2d(*args, **kwargs)

    return conv


@pytest.mark.parametrize("c, k, kernel, kwargs", CASES)
def test_first_and_second_derivatives_are_those_of_finite_differences(c, k, kernel, kwargs):
    inputs = tensors(c, k, kernel, kwargs)
    assert torch.equal(fast(**kwargs)(*inputs), F.conv2d(*inputs, **kwargs))
    assert gradcheck(fast(**kwargs), inputs)
    assert gradgradcheck(fast(**kwargs), inputs)


def second(conv, x, w, only=None, mode=None):
    """Contraction of the gradients of sum(tanh(conv)) with fixed numbers, differentiated."""
    loss = conv(x, w).tanh().sum()
    gx, gw = torch.autograd.grad(loss, [x, w], create_graph=True)
    if mode is not None:
        mode.only_for(only)
    total = (gx * gx.detach()).sum() + (gw * gw.detach().cos()).sum()
    return torch.autograd.grad(total, [x, w], allow_unused=True)


@pytest.mark.parametrize("c, k, kernel, kwargs", CASES)
def test_the_second_derivative_is_torchs(c, k, kernel, kwargs):
    x, w, _ = tensors(c, k, kernel, kwargs)
    expected = second(lambda x, w: F.conv2d(x, w, **kwargs), x, w)
    for a, b in zip(second(fast(**kwargs), x, w), expected):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


def test_a_weight_that_is_not_wanted_costs_nothing_and_changes_nothing_else():
    x, w, _ = tensors(3, 4, 3, {"padding": 1})
    mode = FastSecondDerivatives()

    def conv(x, w):
        with mode:
            return F.conv2d(x, w, padding=1)

    for_x, for_w = second(conv, x, w, only=[], mode=mode)
    assert for_w is None
    assert torch.equal(for_x, second(fast(padding=1), x, w)[0])


@pytest.mark.parametrize("c, k, kernel, kwargs", CASES)
def test_where_only_the_graph_is_wanted_the_second_derivative_is_still_right(c, k, kernel, kwargs):
    x, w, _ = tensors(c, k, kernel, kwargs)

    def contracted(values):
        mode = FastSecondDerivatives()
        with mode:
            y = F.conv2d(
                F.conv2d(x, w, **kwargs).tanh().mean(dim=1, keepdim=True), w[:1, :1], padding=1
            )
        mode.only_for([x, w], values)
        gx, gw = torch.autograd.grad(y.sin().sum(), [x, w], create_graph=True)
        mode.only_for([x, w])
        cotangents = [torch.ones_like(x), torch.ones_like(w).cumsum(0)]
        return torch.autograd.grad([gx, gw], [x, w], cotangents)

    for a, b in zip(contracted(False), contracted(True)):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("values", [False, True])
def test_parameters_behind_a_computed_weight_get_their_derivatives(values):
    x, v, _ = tensors(3, 4, 3, {})
    scale = torch.rand(4, 1, 1, 1, dtype=v.dtype, requires_grad=True)

    def product(mode):
        """As in weight normalisation: the gradient of ``scale`` has the value of w's in it."""
        with mode if mode is not None else nullcontext():
            y = F.conv2d(x, scale * v / v.square().sum((1, 2, 3), True).sqrt()).tanh()
        if mode is not None:
            mode.only_for([scale, v], values)
        grads = torch.autograd.grad(y.sum(), [scale, v], create_graph=True)
        if mode is not None:
            mode.only_for([scale, v])
        return torch.autograd.grad(grads, [scale, v], [torch.ones_like(g) for g in grads])

    for a, b in zip(product(FastSecondDerivatives()), product(None)):
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: F.conv2d(x, w, padding="same"),
        lambda x, w: F.conv2d(x[0], w, padding=1),
        lambda x, w: F.conv2d(x[:0], w, padding=1),
        lambda x, w: F.conv2d(x.detach(), w.detach(), padding=1),
    ],
)
def test_what_it_does_not_know_goes_to_torch(call):
    x, w, _ = tensors(3, 4, 3, {})
    with FastSecondDerivatives():
        y = call(x, w)
    assert y.grad_fn is None or "_Convolution" not in y.grad_fn.name()
    assert torch.equal(y, call(x, w))


def test_under_autocast_torch_casts_as_ever():
    x, w, _ = tensors(3, 4, 3, {}, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16), FastSecondDerivatives():
        y = F.conv2d(x, w, padding=1)
    assert y.dtype == torch.bfloat16
    y.float().sum().backward()
    assert w.grad.dtype == torch.float32
