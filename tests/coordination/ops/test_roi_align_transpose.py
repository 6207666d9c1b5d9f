"""The transpose of RoIAlign as matrix products: torchvision's numbers for any boxes."""

from __future__ import annotations

import pytest
import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)

from metaalign_det.coordination.ops import roi_align_transpose
from metaalign_det.coordination.ops.roi_align import roi_align
from metaalign_det.coordination.ops.roi_align_transpose import transposed_roi_align


def _boxes(count, images, size, seed):
    """Boxes of all kinds: inside, over the border, outside, empty and upside down."""
    generator = torch.Generator().manual_seed(seed)
    corners = (torch.rand(count, 4, generator=generator, dtype=torch.float64) * 1.6 - 0.3) * size
    corners[0, 2:] = corners[0, :2]
    corners[1] = corners[1, [2, 3, 0, 1]]
    image = torch.randint(images, (count, 1), generator=generator).double()
    return torch.cat([image, corners], 1)


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("sampling_ratio", [0, 1, 3])
@pytest.mark.parametrize("shape", [(2, 3, 9, 13), (3, 1, 1, 5), (1, 2, 20, 4)])
@pytest.mark.parametrize("output", [(1, 1), (5, 5), (2, 7)])
def test_any_boxes_give_torchvisions_numbers(aligned, sampling_ratio, shape, output):
    rois = _boxes(20, shape[0], 8 * max(shape[2:]), seed=sum(shape) + sampling_ratio)
    regions = torch.randn(20, shape[1], *output, dtype=torch.float64)
    found = transposed_roi_align(regions, rois, shape, 1 / 8, sampling_ratio, aligned)
    expected = torch.ops.torchvision._roi_align_backward(
        regions, rois, 1 / 8, *output, *shape, sampling_ratio, aligned
    )
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_few_regions_at_a_time_give_the_same(monkeypatch):
    rois = _boxes(20, 2, 72, seed=1)
    regions = torch.randn(20, 3, 4, 4, dtype=torch.float64)
    arguments = (regions, rois, (2, 3, 9, 9), 1 / 8, 0, True)
    at_once = transposed_roi_align(*arguments)
    monkeypatch.setattr(roi_align_transpose, "LARGEST_PRODUCT", 3 * 4 * 9 * 2)  # two
    torch.testing.assert_close(transposed_roi_align(*arguments), at_once)


def test_gradients_under_autocast_have_full_precision():
    features = torch.randn(2, 3, 9, 9, requires_grad=True)
    rois = _boxes(6, 2, 72, seed=0).float()
    weights = torch.randn(6, 3, 4, 4)

    def gradient(enabled):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = (roi_align(features, rois, 4, 1 / 8) * weights).sum()
            return torch.autograd.grad(loss, features)[0]

    assert torch.equal(gradient(True), gradient(False))
