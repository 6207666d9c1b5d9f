"""Gradient reversal for losses that are differentiated once (Ganin and Lempitsky, ICML 2015)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        ctx.scale = scale
        return x.view_as(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.scale * grad, None


def grad_reverse(x: Tensor, scale: float = 1.0) -> Tensor:
    """The identity whose gradient is multiplied by ``-scale``.

    Differentiating *through* that gradient gives a wrong second derivative (the Hessian of
    ``-scale * L`` comes out with the Gauss-Newton part at the wrong sign and size), so the
    function refuses to be differentiated twice. The lookahead never uses it.

    Args:
        x (Tensor): any shape.
        scale: lambda >= 0; at 0 the gradient stops here.
    """
    return _Reverse.apply(x, scale) if scale else x.detach()
