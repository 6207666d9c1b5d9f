"""RoIAlign that can be differentiated any number of times with respect to the features.

For fixed boxes RoIAlign is a linear map A of the features (bilinear samples, averaged per bin),
so its backward is the transpose of A and the backward of that is A again. torchvision has both
kernels but registers no derivative for the second; here each is the other's backward, and on a CPU
the transpose is our own (:mod:`.roi_align_transpose`). Exact
MetaAlign needs this wherever a loss on regions is the objective that looks ahead.

Shape shorthand: N images, C channels, (H, W) of the feature map, R regions, (h, w) of a region's
output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor, nn
from torch.nn.modules.utils import _pair

from .roi_align_transpose import transposed_roi_align


class _Geometry(NamedTuple):
    """Everything but the boxes that defines the linear map A."""

    spatial_scale: float
    output_size: tuple[int, int]
    sampling_ratio: int
    aligned: bool
    feature_shape: tuple[int, ...]


class _Gather(torch.autograd.Function):
    """A: features (N, C, H, W) -> regions (R, C, h, w)."""

    @staticmethod
    def forward(features: Tensor, rois: Tensor, geometry: _Geometry) -> Tensor:
        g = geometry
        return torch.ops.torchvision.roi_align(
            features, rois, g.spatial_scale, *g.output_size, g.sampling_ratio, g.aligned
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        _, rois, ctx.geometry = inputs
        ctx.save_for_backward(rois)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rois,) = ctx.saved_tensors
        return _Scatter.apply(grad, rois, ctx.geometry), None, None


class _Scatter(torch.autograd.Function):
    """The transpose of A: regions (R, C, h, w) -> features (N, C, H, W)."""

    @staticmethod
    def forward(regions: Tensor, rois: Tensor, geometry: _Geometry) -> Tensor:
        g = geometry
        if regions.device.type == "cpu":
            return transposed_roi_align(
                regions, rois, g.feature_shape, g.spatial_scale, g.sampling_ratio, g.aligned
            )
        return torch.ops.torchvision._roi_align_backward(
            regions.contiguous(),
            rois,
            g.spatial_scale,
            *g.output_size,
            *g.feature_shape,
            g.sampling_ratio,
            g.aligned,
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
        _, rois, ctx.geometry = inputs
        ctx.save_for_backward(rois)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (rois,) = ctx.saved_tensors
        return _Gather.apply(grad, rois, ctx.geometry), None, None


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = 0,
    aligned: bool = True,
) -> Tensor:
    """RoIAlign (He et al., Mask R-CNN, ICCV 2017), twice differentiable in the features.

    The boxes are constants: as in torchvision, they get no gradient.

    Args:
        features (Tensor): shape (N, C, H, W), any floating type. Half and bfloat16 are computed
            in float32 and cast back, which is what torchvision does under autocast.
        rois (Tensor): shape (R, 5): index of the image, then x0, y0, x1, y1 in absolute pixels
            of the image. Cast to the type of ``features``, as Detectron2 does.
        output_size: h and w.
        spatial_scale: feature positions per image pixel, 1 / stride.
        sampling_ratio: samples per bin and direction; 0 = as many as the bin covers positions.
        aligned: shift by half a pixel, as Detectron2 does by default.

    Returns:
        Tensor: shape (R, C, h, w), of the type of ``features``.

    Raises:
        ValueError: if a shape is not as above.
    """
    if features.dim() != 4 or rois.dim() != 2 or rois.shape[1] != 5:
        raise ValueError(
            "roi_align takes features (N, C, H, W) and rois (R, 5), "
            f"got {tuple(features.shape)} and {tuple(rois.shape)}"
        )
    geometry = _Geometry(
        spatial_scale, tuple(_pair(output_size)), sampling_ratio, aligned, tuple(features.shape)
    )
    dtype = features.dtype
    # Autocast is off by the time a backward runs, and the CPU kernels know no bfloat16: the casts
    # stand outside the two functions so that both always see the same, full precision.
    full = torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype
    rois = rois.detach().to(dtype).to(full)
    return _Gather.apply(features.to(full), rois, geometry).to(dtype)


class TwiceDifferentiableROIAlign(nn.Module):
    """:func:`roi_align` with the signature, attributes and output of Detectron2's ``ROIAlign``."""

    def __init__(
        self,
        output_size: int | tuple[int, int],
        spatial_scale: float,
        sampling_ratio: int,
        aligned: bool = True,
    ) -> None:
        super().__init__()
        self.output_size = output_size
        self.spatial_scale = spatial_scale
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned

    def forward(self, input: Tensor, rois: Tensor) -> Tensor:
        """Pool ``rois`` (Tensor): shape (R, 5) from ``input`` (Tensor): shape (N, C, H, W)."""
        if input.is_quantized:
            input = input.dequantize()
        return roi_align(
            input, rois, self.output_size, self.spatial_scale, self.sampling_ratio, self.aligned
        )

    def extra_repr(self) -> str:
        return (
            f"output_size={self.output_size}, spatial_scale={self.spatial_scale}, "
            f"sampling_ratio={self.sampling_ratio}, aligned={self.aligned}"
        )
