"""Adaptive BatchNorm: the statistics of what it was shown, and nothing else changed."""

from __future__ import annotations

import logging

import pytest
import torch
from detectron2.layers import FrozenBatchNorm2d
from fvcore.nn.precise_bn import update_bn_stats
from torch import nn

from metaalign_det.errors import UserError
from metaalign_det.evaluation import adapt_batchnorm, adapted_batchnorm


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5)
        )
        self.discriminator = nn.BatchNorm2d(3)


def batches(n=4, size=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(size, 2, 6, 5, generator=g) * (i + 1) + 3 * i for i in range(n)]


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def equal(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_the_first_layer_gets_mean_and_variance_of_all_images():
    model, data = Model(), batches()
    assert adapt_batchnorm(model, data, 4, model.backbone) == 2
    pixels = torch.cat(data).transpose(0, 1).flatten(1)
    first = model.backbone[0]
    torch.testing.assert_close(first.running_mean, pixels.mean(dim=1))
    torch.testing.assert_close(first.running_var, pixels.var(dim=1, correction=0))


def test_equals_fvcore_on_the_layers_that_are_used():
    torch.manual_seed(1)
    ours, theirs = Model(), Model()
    theirs.load_state_dict(ours.state_dict())
    adapt_batchnorm(ours, batches(), 4, ours.backbone)
    theirs.backbone[3].eval()  # our passes are without dropout
    update_bn_stats(theirs.backbone, batches(), 4)
    for i in (0, 2):
        torch.testing.assert_close(ours.backbone[i].running_mean, theirs.backbone[i].running_mean)
        torch.testing.assert_close(ours.backbone[i].running_var, theirs.backbone[i].running_var)


def test_everything_but_the_statistics_in_reach_stays():
    model = Model()
    model.backbone[2].eval()  # a mixture of modes must come back as it was
    modes = [m.training for m in model.modules()]
    before, rng = state(model), torch.get_rng_state()
    adapt_batchnorm(model, batches(), 2, model.backbone)
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    changed = {k for k, v in state(model).items() if not torch.equal(v, before[k])}
    assert changed == {f"backbone.{i}.running_{w}" for i in (0, 2) for w in ("mean", "var")}


def test_the_context_manager_puts_the_old_statistics_back_even_after_an_error():
    model = Model()
    before = state(model)
    with adapted_batchnorm(model, batches(), 2, model.backbone) as count:
        assert count == 2
        assert not equal(state(model), before)
    assert equal(state(model), before)
    with (
        pytest.raises(RuntimeError, match="inside"),
        adapted_batchnorm(model, batches(), 2, model.backbone),
    ):
        raise RuntimeError("inside")
    assert equal(state(model), before)


def test_an_error_in_a_pass_leaves_the_model_as_it_was():
    model = Model().eval()
    before = state(model)

    def fail(batch):
        model.backbone(batch)
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        adapt_batchnorm(model, batches(), 2, fail)
    assert equal(state(model), before)
    assert not any(m.training for m in model.modules())
    assert not any(m._forward_pre_hooks for m in model.modules())


def test_a_layer_used_twice_counts_both_inputs():
    model = Model()
    data = batches(2)
    adapt_batchnorm(model, [data], 1, lambda pair: [model.backbone[0](x) for x in pair])
    torch.testing.assert_close(model.backbone[0].running_mean, torch.cat(data).mean(dim=(0, 2, 3)))


def test_frozen_batchnorm_is_a_no_op_that_is_logged(caplog):
    model = nn.Sequential(FrozenBatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False))
    before = state(model)
    with caplog.at_level(logging.INFO, "metaalign_det"):
        assert adapt_batchnorm(model, batches(), 2, model) == 0
    assert "nothing to re-estimate" in caplog.text
    assert equal(state(model), before)


def test_a_short_loader_is_used_up_and_an_empty_one_refused():
    model = Model()
    assert adapt_batchnorm(model, batches(2), 50, model.backbone) == 2
    with pytest.raises(UserError, match="no batch"):
        adapt_batchnorm(model, [], 2, model.backbone)
    with pytest.raises(UserError, match="at least 1"):
        adapt_batchnorm(model, batches(), 0, model.backbone)
