"""2-d convolution whose second derivative is as fast as its first.

torch differentiates a convolution's backward by convolutions again, but writes the two weight-like
ones among them as convolutions with the *feature map for a kernel*. Those are slow: for the 1x1
layers of a ResNet bottleneck on a CPU they double the cost of a Hessian-vector product. Here all
four products of the second derivative go through the kernels that first derivatives use.

Shape shorthand: N images, C channels in, K out, (H, W) and (h, w) positions in and out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode


class _Geometry(NamedTuple):
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def conv(self, x: Tensor, weight: Tensor) -> Tensor:
        return torch.ops.aten.convolution(
            x, weight, None, *self[:3], False, (0, 0), self.groups
        )  # fmt: skip

    def backward(self, grad: Tensor, x: Tensor, weight: Tensor, mask: tuple[bool, bool, bool]):
        """Products of ``grad`` with the weight (for x), with x (for the weight), summed (bias)."""
        return torch.ops.aten.convolution_backward(
            grad, x, weight, [weight.shape[0]], *self[:3], False, (0, 0), self.groups, mask
        )  # fmt: skip


class _Convolution(torch.autograd.Function):
    """y = x * W + b."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, geometry: _Geometry) -> Tensor:
        y = geometry.conv(x, weight)
        return y if bias is None else y.add_(bias.view(-1, 1, 1))

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        x, weight, bias, ctx.geometry = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx, grad: Tensor):
        x, weight = ctx.saved_tensors
        gx, gw, gb = _Backward.apply(grad, x, weight, ctx.geometry, ctx.needs_input_grad[:3])
        return gx, gw, gb, None


class _Backward(torch.autograd.Function):
    """(gy, x, W) -> (gx, gW, gb), linear in gy, in x and in W."""

    @staticmethod
    def forward(grad: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, mask):
        return geometry.backward(grad, x, weight, mask)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        grad, x, weight, ctx.geometry, _ = inputs
        ctx.save_for_backward(grad, x, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, u: Tensor | None, v: Tensor | None, b: Tensor | None):
        """Cotangents u of gx, v of gW, b of gb."""
        grad, x, weight = ctx.saved_tensors
        geometry = ctx.geometry
        for_grad = for_x = for_weight = None
        if ctx.needs_input_grad[0]:
            pieces = [] if u is None else [geometry.conv(u, weight)]
            pieces += [] if v is None else [geometry.conv(x, v)]
            pieces += [] if b is None else [b.view(-1, 1, 1)]
            for piece in pieces:
                for_grad = piece if for_grad is None else for_grad + piece
        if ctx.needs_input_grad[1] and v is not None:
            for_x, _, _ = geometry.backward(grad, x, v, (True, False, False))
        if ctx.needs_input_grad[2] and u is not None:
            _, for_weight, _ = geometry.backward(grad, u, weight, (False, True, False))
        return for_grad, for_x, for_weight, None, None


class FastSecondDerivatives(TorchFunctionMode):
    """Context in which ``torch.conv2d`` is replaced by one with a fast second derivative.

    Values and derivatives are the same up to rounding. What it does not know (autocast, string
    padding, inputs without a batch dimension) goes to torch's own.
    """

    def __torch_function__(self, func, types, args=(), kwargs=None) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d:
            y = _conv2d(*args, **kwargs)
            if y is not None:
                return y
        return func(*args, **kwargs)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple = 1,
    padding: str | int | tuple = 0,
    dilation: int | tuple = 1,
    groups: int = 1,
) -> Tensor | None:
    """``torch.conv2d``, or None where this module has nothing to offer."""
    if isinstance(padding, str) or input.dim() != 4 or input.numel() == 0:
        return None
    if not (torch.is_grad_enabled() and (input.requires_grad or weight.requires_grad)):
        return None
    if torch.is_autocast_enabled(input.device.type) or input.dtype != weight.dtype:
        return None
    geometry = _Geometry(_pair(stride), _pair(padding), _pair(dilation), groups)
    if weight.shape[2:] == (1, 1) and geometry.padding == (0, 0) and geometry.stride != (1, 1):
        # It looks at every s-th position only. The kernels for gradients of strided convolutions
        # are several times slower than a dense one on what is looked at.
        down, right = geometry.stride
        input = input[:, :, ::down, ::right].contiguous()
        geometry = geometry._replace(stride=(1, 1))
    return _Convolution.apply(input, weight, bias, geometry)
