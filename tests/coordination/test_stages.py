from __future__ import annotations

import pytest
import torch
from torch import nn

from metaalign_det.coordination import StageGroups, StageWeights


@pytest.fixture
def params():
    net = nn.ModuleDict({k: nn.Linear(2, 2) for k in ("stem", "res2", "res3", "head")})
    return dict(net.named_parameters())


def test_groups_hold_what_lies_under_their_prefixes_and_nothing_else(params):
    groups = StageGroups.from_prefixes({"a": ["stem", "res2"], "b": ["res3"]}, params)
    assert groups.stages["a"] == ("stem.weight", "stem.bias", "res2.weight", "res2.bias")
    assert groups.rest == ()
    assert groups.weight_of([2.0, 3.0])["res3.bias"] == 3.0


def test_a_prefix_is_a_whole_name_component(params):
    with pytest.raises(ValueError, match="'res' or lies under it"):
        StageGroups.from_prefixes({"a": ["res"]}, params)


def test_a_group_that_names_no_parameter_is_an_error_that_lists_what_there_is(params):
    with pytest.raises(ValueError, match="'layer4'.*stem"):
        StageGroups.from_prefixes({"a": ["layer4"]}, params)


def test_a_group_without_a_trainable_parameter_is_an_error_or_dropped(params):
    for n, p in params.items():
        p.requires_grad_(not n.startswith("stem"))
    stages = {"a": ["stem"], "b": ["res2"]}
    with pytest.raises(ValueError, match="'a' has no trainable parameter"):
        StageGroups.from_prefixes(stages, params)
    assert StageGroups.from_prefixes(stages, params, drop_frozen=True).names == ("b",)


def test_overlapping_groups_are_an_error_that_names_both(params):
    with pytest.raises(ValueError, match="'a' and 'b' overlap.*res2.weight"):
        StageGroups.from_prefixes({"a": ["stem", "res2"], "b": ["res2"]}, params)


def test_specs_are_parsed_and_bad_ones_named():
    assert StageGroups.parse(["a = x + y.z", "b=w"]) == {"a": ("x", "y.z"), "b": ("w",)}
    with pytest.raises(ValueError, match="name=prefix"):
        StageGroups.parse(["backbone.res2"])
    with pytest.raises(ValueError, match="twice"):
        StageGroups.parse(["a=x", "a=y"])


def test_as_many_beta_as_groups(params):
    with pytest.raises(ValueError, match="1 stage groups need as many beta, got 2"):
        StageGroups.from_prefixes({"a": ["stem"]}, params).weight_of([1.0, 1.0])


def test_learned_beta_is_pulled_back_to_its_sum():
    weights = StageWeights(3, total=1.0, weight=0.2)
    assert weights.values() == pytest.approx([1 / 3] * 3)
    with torch.no_grad():
        weights.raw += 0.5
    weights.set_gradient(torch.tensor([0.1, -0.1, 0.0]))
    assert weights.raw.grad.tolist() == pytest.approx([0.3, 0.1, 0.2])


def test_frozen_beta_stays():
    weights = StageWeights(2, mode="frozen")
    weights.set_gradient(torch.ones(2))
    assert weights.raw.grad is None
    assert weights.values() == [1.0, 1.0]


def test_normalised_beta_keeps_its_sum_and_its_gradient_is_that_of_the_rescaling():
    weights = StageWeights(3, mode="normalised", total=2.0)
    with torch.no_grad():
        weights.raw.copy_(torch.tensor([1.0, 2.0, 5.0]))
    assert sum(weights.values()) == pytest.approx(2.0)
    direction = torch.tensor([0.3, -0.7, 0.2])
    weights.set_gradient(direction)
    raw = weights.raw.detach().clone().requires_grad_()
    (2.0 * raw / raw.sum() * direction).sum().backward()
    assert torch.allclose(weights.raw.grad, raw.grad, atol=1e-7)
