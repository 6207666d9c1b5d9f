"""The transpose of RoIAlign on a CPU, as two matrix products.

A bilinear weight is a product of one weight along y and one along x, and so is its average over a
bin's grid of samples: RoIAlign of region r is ``Y_r F X_r^T`` with ``Y_r`` of shape (h, H) and
``X_r`` of shape (w, W), and its transpose ``sum_r Y_r^T G_r X_r``. torchvision's CPU kernel
computes every weight anew for each channel, sample by sample; on maps as small as a miniature's the
products take a fifth of its time.

Shape shorthand as in :mod:`.roi_align`.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: Numbers in the intermediate product of regions that are taken at a time: 64 MiB in float32.
LARGEST_PRODUCT = 2**24


def transposed_roi_align(
    regions: Tensor,
    rois: Tensor,
    feature_shape: tuple[int, ...],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Tensor:
    """What ``torchvision::_roi_align_backward`` computes, up to rounding.

    Args:
        regions (Tensor): shape (R, C, h, w), what is spread over the features.
        rois (Tensor): shape (R, 5): index of the image, then x0, y0, x1, y1 in pixels.
        feature_shape: (N, C, H, W) of the result.
        spatial_scale, sampling_ratio, aligned: as of RoIAlign.

    Returns:
        Tensor: shape (N, C, H, W), of the type of ``regions``.
    """
    n, channels, height, width = feature_shape
    h, w = regions.shape[2:]
    at_a_time = max(1, LARGEST_PRODUCT // max(1, channels * h * width))
    boxes = rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    along_x = _bin_weights(boxes[:, 0], boxes[:, 2], w, width, sampling_ratio, aligned)
    along_y = _bin_weights(boxes[:, 1], boxes[:, 3], h, height, sampling_ratio, aligned)
    out = regions.new_zeros(n, height, channels * width)
    with torch.autocast("cpu", enabled=False):  # in full precision, whoever calls
        for image in range(n):
            for chosen in (rois[:, 0] == image).nonzero()[:, 0].split(at_a_time):
                # (r, h C, w) x (r, w, W), then (H, r h) x (r h, C W).
                bins = regions[chosen].transpose(1, 2).reshape(-1, h * channels, w)
                rows = bins.bmm(along_x[chosen]).reshape(-1, channels * width)
                out[image].addmm_(along_y[chosen].reshape(-1, height).t(), rows)
    return out.view(n, height, channels, width).transpose(1, 2).contiguous()


def _bin_weights(
    start: Tensor, end: Tensor, bins: int, size: int, sampling_ratio: int, aligned: bool
) -> Tensor:
    """Weight of each of ``size`` positions in each bin of each region, along one axis.

    Args:
        start, end (Tensor): shape (R,), in positions of the feature map.

    Returns:
        Tensor: shape (R, bins, size).
    """
    length = end - start
    if not aligned:
        length = length.clamp(min=1)
    bin_size = length / bins
    samples = (
        torch.full_like(length, sampling_ratio) if sampling_ratio > 0 else bin_size.ceil()
    ).clamp(min=0)
    step = bin_size / samples.clamp(min=1)
    first = start[:, None] + torch.arange(bins).to(length) * bin_size[:, None]  # (R, bins)
    positions = torch.arange(size).to(length)
    total = first.new_zeros(len(start), bins, size)
    for number in range(int(samples.max()) if len(samples) else 0):
        at = first + (number + 0.5) * step[:, None]
        used = (number < samples[:, None]) & (at >= -1) & (at <= size)
        # Neighbours of a sample share it in proportion to their nearness.
        far = (at.clamp(0, size - 1).unsqueeze(-1) - positions).abs()
        total += (1 - far).clamp(min=0) * used.unsqueeze(-1)
    return total / samples.clamp(min=1)[:, None, None]
