"""2-d convolution whose second derivative is as fast as its first.

torch differentiates a convolution's backward by convolutions again, but writes the two weight-like
ones among them as convolutions with the *feature map for a kernel*. Those are slow: for the 1x1
layers of a ResNet bottleneck they cost as much again as the other products together. Here all
four products of the second derivative go through the kernels that first derivatives use.

Shape shorthand: N images, C channels in, K out, (H, W) and (h, w) positions in and out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.modules.utils import _pair
from torch.overrides import TorchFunctionMode


class FastSecondDerivatives(TorchFunctionMode):
    """Context in which ``torch.conv2d`` is replaced by one with a fast second derivative.

    Values and derivatives are torch's up to rounding. What this does not know (autocast, string
    padding, inputs without a batch dimension) goes to torch's own.

    Use it around a forward pass, and say before each differentiation which weights it is for:
    a Python autograd function, unlike a built-in one, is not told by ``autograd.grad``. This
    concerns weights that are leaves; one that is computed from parameters (weight normalisation)
    always gets its gradient, which they depend on.
    """

    def __init__(self) -> None:
        super().__init__()
        self._wanted: set[int] | None = None
        self.values = True

    def only_for(self, weights: Iterable[Tensor], values: bool = True) -> None:
        """From now on compute gradients of these weights only, and of feature maps as needed.

        Args:
            weights: which.
            values: False if the differentiation to come is wanted for its graph alone. The
                gradients of weights that are leaves are then zeros, a third of the work less;
                differentiated once more they give what they should, since a second derivative
                does not see their values.
        """
        self._wanted = {id(w) for w in weights}
        self.values = values

    def wants(self, weight: int) -> bool:
        return self._wanted is None or weight in self._wanted

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.conv2d:
            y = _conv2d(self, *args, **kwargs)
            if y is not None:
                return y
        return func(*args, **kwargs)


def _conv2d(
    mode: FastSecondDerivatives,
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
    steps, pads = _pair(stride), _pair(padding)
    if weight.shape[2:] == (1, 1) and pads == (0, 0) and steps != (1, 1):
        # It looks at every s-th position only. The kernels for gradients of strided convolutions
        # are several times slower than a dense one on what is looked at.
        input = input[:, :, :: steps[0], :: steps[1]].contiguous()
        steps = (1, 1)
    weight_id = id(weight) if weight.is_leaf else None
    layer = _Layer(mode, weight_id, steps, pads, _pair(dilation), groups)
    return _Convolution.apply(input, weight, bias, layer)


class _Layer(NamedTuple):
    """Everything about one convolution but its tensors."""

    mode: FastSecondDerivatives
    weight_id: int | None  # None if it is computed from something else
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return torch.ops.aten.convolution(
            x, weight, bias, self.stride, self.padding, self.dilation, False, (0, 0), self.groups
        )

    def backward(
        self, grad: Tensor, x: Tensor, weight: Tensor, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, ...]:
        """What ``grad`` (N, K, h, w) gives with the weight for x, with x for the weight, for b."""
        return torch.ops.aten.convolution_backward(
            grad,
            x,
            weight,
            [weight.shape[0]],
            self.stride,
            self.padding,
            self.dilation,
            False,
            (0, 0),
            self.groups,
            wanted,
        )

    def wants_weight(self) -> bool:
        return self.weight_id is None or self.mode.wants(self.weight_id)

    def skips_weight_value(self) -> bool:
        return self.weight_id is not None and not self.mode.values


class _Convolution(torch.autograd.Function):
    """x (N, C, H, W), W (K, C / groups, *, *), b (K,) -> y (N, K, h, w)."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None, layer: _Layer) -> Tensor:
        return layer.forward(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        x, weight, _, ctx.layer = inputs
        ctx.save_for_backward(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias, _ = ctx.needs_input_grad
        wanted = (for_x, for_weight and ctx.layer.wants_weight(), for_bias)
        if not any(wanted):
            return None, None, None, None
        return *_Backward.apply(grad, x, weight, ctx.layer, wanted), None


class _Backward(torch.autograd.Function):
    """(gy, x, W) -> (gx, gW, gb): the first is linear in gy and W, the second in gy and x."""

    @staticmethod
    def forward(
        grad: Tensor, x: Tensor, weight: Tensor, layer: _Layer, wanted: tuple[bool, bool, bool]
    ) -> tuple[Tensor | None, ...]:
        for_x, for_weight, for_bias = wanted
        if not (for_weight and layer.skips_weight_value()):
            return layer.backward(grad, x, weight, wanted)
        gx = gb = None
        if for_x or for_bias:
            gx, _, gb = layer.backward(grad, x, weight, (for_x, False, for_bias))
        return gx, weight.new_zeros(()).expand_as(weight), gb

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        grad, x, weight, ctx.layer, _ = inputs
        ctx.save_for_backward(grad, x, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, for_gx: Tensor | None, for_gw: Tensor | None, for_gb: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        """Of a scalar's gradients with respect to gx, gW and gb, those for gy, x and W."""
        grad, x, weight = ctx.saved_tensors
        layer = ctx.layer
        of_grad = of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            pieces = []
            if for_gx is not None:
                pieces.append(layer.forward(for_gx, weight))
            if for_gw is not None:
                pieces.append(layer.forward(x, for_gw))
            if for_gb is not None:
                pieces.append(for_gb.view(-1, 1, 1).expand_as(grad))
            of_grad = sum(pieces[1:], pieces[0]) if pieces else None
        if ctx.needs_input_grad[1] and for_gw is not None:
            of_x, _, _ = layer.backward(grad, x, for_gw, (True, False, False))
        if ctx.needs_input_grad[2] and for_gx is not None and layer.wants_weight():
            _, of_weight, _ = layer.backward(grad, for_gx, weight, (False, True, False))
        return of_grad, of_x, of_weight, None, None
