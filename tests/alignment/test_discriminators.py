from __future__ import annotations

import pytest
import torch
from torch import nn

from metaalign_det.alignment.discriminators import (
    GlobalDiscriminator,
    InstanceDiscriminator,
    LocalDiscriminator,
    VectorDiscriminator,
)


def test_local_discriminator_decides_each_position_by_itself():
    net = LocalDiscriminator(6, (8, 4)).double()
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    logits, feature = net(x)
    assert logits.shape == (2, 1, 3, 5) and feature.shape == (2, 4)
    one, _ = net(x[:, :, 1:2, 2:3])
    assert torch.allclose(logits[:, :, 1:2, 2:3], one, rtol=1e-12)


def test_local_discriminator_has_the_published_size():
    # 1x1 convolutions 256 -> 256 -> 128 -> 1 without biases
    assert (
        sum(p.numel() for p in LocalDiscriminator(256).parameters()) == 256 * 256 + 256 * 128 + 128
    )


def test_local_weights_start_as_the_authors_have_them_for_each_network():
    published = [layer.weight.std().item() for layer in LocalDiscriminator(256).hidden]
    assert published == [pytest.approx(0.01, rel=0.05)] * 2
    # U(-k, k) with k = 1 / sqrt(256)
    default = [layer.weight.std().item() for layer in LocalDiscriminator(256, init_std=0).hidden]
    assert default == [pytest.approx(256**-0.5 / 3**0.5, rel=0.05)] * 2


@pytest.mark.parametrize("norm", ["BN", "GN", ""])
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 8), (9, 17)])
@pytest.mark.parametrize("batch", [1, 2])
def test_global_discriminator_takes_any_map_and_batch_in_training(norm, size, batch):
    net = GlobalDiscriminator(6, (8, 4, 4), norm)
    logits, feature = net(torch.randn(batch, 6, *size, requires_grad=True))
    assert logits.shape == (batch, 2) and feature.shape == (batch, 4)
    logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_single_value_leaves_batch_statistics_alone():
    net = GlobalDiscriminator(6, (8, 4, 4), "BN")
    before = {k: v.clone() for k, v in net.named_buffers()}
    net(torch.randn(1, 6, 1, 1))
    assert all(torch.equal(before[k], v) for k, v in net.named_buffers())
    net(torch.randn(2, 6, 1, 1))
    assert not all(torch.equal(before[k], v) for k, v in net.named_buffers())


@pytest.mark.parametrize("size", [(5, 6), (1, 7), (8, 3)])
def test_padding_changes_nothing_for_image_discriminators(size):
    height, width = size
    x = torch.randn(1, 6, height, width, dtype=torch.float64)
    padded = torch.randn(1, 6, 9, 11, dtype=torch.float64)
    padded[:, :, :height, :width] = x
    valid = torch.zeros(1, 1, 9, 11, dtype=torch.float64)
    valid[:, :, :height, :width] = 1
    for net in (LocalDiscriminator(6, (8, 4)), GlobalDiscriminator(6, (8, 4, 4), "BN")):
        net = net.double().eval()
        assert torch.allclose(net(x)[1], net(padded, valid)[1], rtol=1e-10)


def test_instance_discriminator_takes_no_regions():
    net = InstanceDiscriminator(7, (5, 5))
    assert net(torch.zeros(0, 7)).shape == (0, 1)
    assert net(torch.zeros(3, 7)).shape == (3, 1)


@pytest.mark.parametrize(("domains", "outputs"), [(2, 1), (3, 3)])
def test_vector_discriminator_has_a_logit_for_two_domains_and_a_column_each_for_more(
    domains, outputs
):
    net = VectorDiscriminator(7, (5,), num_domains=domains)
    assert net.num_outputs == outputs and net(torch.zeros(4, 7)).shape == (4, outputs)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError, match="hidden layer"):
        InstanceDiscriminator(7, ())
    with pytest.raises(ValueError, match="at least 2 domains"):
        VectorDiscriminator(7, num_domains=1)
    with pytest.raises(ValueError, match="BN, GN"):
        GlobalDiscriminator(7, norm="LN")


def test_second_derivatives_exist():
    net = nn.Sequential(VectorDiscriminator(3, (4,), dropout=0.0)).double()
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(net(x).square().sum(), x, create_graph=True)
    grad.square().sum().backward()
    assert torch.isfinite(x.grad).all()
