"""Twice-differentiable RoIAlign: torchvision's numbers, and derivatives of every order."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.modeling.poolers import ROIPooler
from detectron2.structures import Boxes
from torch import nn
from torchvision.ops import roi_align as reference

from metaalign_det.coordination.ops.roi_align import (
    TwiceDifferentiableROIAlign,
    roi_align,
)
from metaalign_det.modeling.roi_align import make_twice_differentiable

every_setting = pytest.mark.parametrize(
    ("aligned", "sampling_ratio"), [(True, 0), (True, 2), (False, 0), (False, 2)]
)

ROIS = torch.tensor(
    [
        [0, 1.3, 2.1, 17.9, 20.4],
        [1, 0.0, 0.0, 31.0, 31.0],
        [1, 10.0, 4.0, 12.5, 5.5],
        [0, -3.0, 25.0, 40.0, 36.0],  # reaches over the border
    ],
    dtype=torch.float64,
)


def _features(channels=3):
    return torch.randn(2, channels, 8, 8, dtype=torch.float64, requires_grad=True)


@every_setting
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_and_first_gradient_are_torchvisions(aligned, sampling_ratio, dtype):
    x = _features().detach().to(dtype).requires_grad_()
    ours = roi_align(x, ROIS, (3, 2), 0.25, sampling_ratio, aligned)
    theirs = reference(x, ROIS.to(dtype), (3, 2), 0.25, sampling_ratio, aligned)
    assert torch.equal(ours, theirs)
    weight = torch.randn_like(ours)
    (mine,) = torch.autograd.grad((ours * weight).sum(), x)
    (other,) = torch.autograd.grad((theirs * weight).sum(), x)
    torch.testing.assert_close(mine, other)  # summed in another order


@every_setting
def test_derivatives_pass_gradcheck_and_gradgradcheck(aligned, sampling_ratio):
    x = _features(channels=1)

    def run(features):
        return roi_align(features, ROIS, 2, 0.25, sampling_ratio, aligned)

    assert torch.autograd.gradcheck(run, (x,))
    assert torch.autograd.gradgradcheck(lambda f: run(f).pow(3), (x,))


def test_torchvisions_own_cannot_be_differentiated_twice():
    """The reason this layer exists; if this fails, torchvision has learnt it."""
    x = _features()
    out = reference(x, ROIS, (2, 2), 0.25, 2, True)
    with pytest.raises(RuntimeError):
        (g,) = torch.autograd.grad(out.pow(3).sum(), x, create_graph=True)
        torch.autograd.grad(g.pow(2).sum(), x)


def test_hessian_vector_product_of_a_square_is_twice_the_normal_operator():
    """L = |A x|^2 has gradient 2 AᵀA x and Hessian-vector product 2 AᵀA u, for any x."""
    x, u = _features(), torch.randn(2, 3, 8, 8, dtype=torch.float64)

    def gradient(features, create_graph):
        loss = roi_align(features, ROIS, 2, 0.25, 2).pow(2).sum()
        return torch.autograd.grad(loss, features, create_graph=create_graph)[0]

    (product,) = torch.autograd.grad((gradient(x, True) * u).sum(), x)
    torch.testing.assert_close(product, gradient(u.requires_grad_(), False))


def test_each_region_reads_its_own_image():
    x = torch.zeros(3, 1, 4, 4)
    x += torch.arange(3.0)[:, None, None, None]
    rois = torch.tensor([[i, 0.0, 0.0, 4.0, 4.0] for i in (2, 0, 1, 2)])
    out = roi_align(x, rois, 2)
    assert out.mean(dim=(1, 2, 3)).tolist() == [2.0, 0.0, 1.0, 2.0]


def test_boxes_are_constants():
    x, rois = _features(), ROIS.clone().requires_grad_()
    roi_align(x, rois, 2, 0.25).sum().backward()
    assert rois.grad is None
    assert x.grad is not None


def test_no_regions_give_an_empty_output_and_a_zero_gradient():
    x = _features()
    out = roi_align(x, ROIS[:0], (2, 2), 0.25)
    assert out.shape == (0, 3, 2, 2)
    (g,) = torch.autograd.grad(out.pow(2).sum(), x, create_graph=True)
    assert torch.count_nonzero(g) == 0
    (h,) = torch.autograd.grad(g.sum(), x)
    assert torch.count_nonzero(h) == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_reduced_precision_comes_back_in_its_own_type_and_can_be_differentiated_twice(dtype):
    x = _features().detach().to(dtype).requires_grad_()
    out = roi_align(x, ROIS, 2, 0.25, 2)
    full = roi_align(x.detach().float(), ROIS.to(dtype).float(), 2, 0.25, 2)
    assert out.dtype == dtype
    assert torch.equal(out, full.to(dtype))
    (g,) = torch.autograd.grad(out.float().pow(2).sum(), x, create_graph=True)
    (h,) = torch.autograd.grad(g.float().pow(2).sum(), x)
    assert g.dtype == h.dtype == dtype
    assert torch.isfinite(h).all()


def test_under_autocast_it_equals_detectron2s_layer():
    conv = nn.Conv2d(3, 4, 1)
    x = torch.randn(2, 3, 8, 8)
    args = (2, 0.25, 2, True)
    grads = []
    for layer in (ROIAlign(*args), TwiceDifferentiableROIAlign(*args)):
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(conv(x), ROIS.float())
        assert out.dtype == torch.bfloat16
        grads.append((out, torch.autograd.grad(out.float().pow(2).sum(), conv.weight)[0]))
    assert torch.equal(grads[0][0], grads[1][0])
    assert torch.equal(grads[0][1], grads[1][1])


def test_works_inside_functional_call_and_func_grad():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 2, 3, padding=1).double()
            self.pool = TwiceDifferentiableROIAlign(2, 0.25, 2)

        def forward(self, x):
            return self.pool(self.conv(x), ROIS).pow(2).sum()

    net, x = Net(), _features().detach()
    params = {k: v.detach().clone().requires_grad_() for k, v in net.named_parameters()}
    expected = torch.autograd.grad(net(x), list(net.parameters()))
    got = torch.autograd.grad(
        torch.func.functional_call(net, params, (x,)), list(params.values()), create_graph=True
    )
    transformed = torch.func.grad(lambda p: torch.func.functional_call(net, p, (x,)))(params)
    for e, g, t in zip(expected, got, transformed.values()):
        torch.testing.assert_close(g, e)
        torch.testing.assert_close(t, e)
    second = torch.autograd.grad(sum(g.pow(2).sum() for g in got), list(params.values()))
    assert all(torch.count_nonzero(s) for s in second)


def test_converted_pooler_gives_the_same_and_keeps_its_state_dict():
    pooler = ROIPooler(3, [1 / 4, 1 / 8, 1 / 16, 1 / 32], 0, "ROIAlignV2")
    features = [torch.randn(2, 5, 256 // s, 256 // s) for s in (4, 8, 16, 32)]
    corner = torch.rand(2, 20, 2) * 120
    size = torch.rand(2, 20, 2).pow(2) * 130 + 2
    boxes = [Boxes(b) for b in torch.cat([corner, corner + size], dim=2)]
    before, keys = pooler(features, boxes), pooler.state_dict().keys()
    assert make_twice_differentiable(pooler) == 4
    assert make_twice_differentiable(pooler) == 0
    assert pooler.state_dict().keys() == keys
    assert torch.equal(pooler(features, boxes), before)


def test_shared_layers_stay_shared_and_subclasses_are_left_alone():
    class Other(ROIAlign):
        pass

    shared = ROIAlign(2, 1.0, 0)
    module = nn.ModuleList([shared, shared, Other(2, 1.0, 0)]).eval()
    assert make_twice_differentiable(module) == 1
    assert module[0] is module[1]
    assert isinstance(module[0], TwiceDifferentiableROIAlign)
    assert not module[0].training
    assert type(module[2]) is Other


def test_a_layer_by_itself_and_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="in place"):
        make_twice_differentiable(ROIAlign(2, 1.0, 0))
    with pytest.raises(ValueError, match=r"rois \(R, 5\)"):
        roi_align(torch.zeros(1, 1, 4, 4), torch.zeros(2, 4), 2)
