"""Frozen first layers run once per step, and nothing else is remembered."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.modeling.frozen_prefix import FrozenPrefix
from tests.tiny import batch, tiny_cfg, tiny_model


def counted(module):
    calls = []
    module.register_forward_hook(lambda m, i, o: calls.append(o))
    runs = []
    conv = next(m for m in module.modules() if isinstance(m, torch.nn.Conv2d))
    conv.register_forward_hook(lambda m, i, o: runs.append(1))
    return calls, runs


def losses(model, data):
    model.random_streams = None
    torch.manual_seed(0)
    terms = model.alignment_terms(data["source"], data["target"])
    return [t.loss for t in terms.values()]


@pytest.mark.parametrize("freeze_at, stem_runs, res2_runs", [(0, 4, 4), (1, 2, 4), (2, 2, 2)])
def test_only_frozen_layers_run_once_for_each_list_of_images(freeze_at, stem_runs, res2_runs):
    model = tiny_model(tiny_cfg("MODEL.BACKBONE.FREEZE_AT", freeze_at))
    stem, res2 = (counted(m)[1] for m in (model.backbone.stem, model.backbone.res2))
    data = batch()
    plain = losses(model, data)
    for counts in (stem, res2):
        counts.clear()
    with model.shared_prefix():
        first, second = losses(model, data), losses(model, data)
    assert len(stem) == stem_runs
    assert len(res2) == res2_runs
    for a, b, c in zip(plain, first, second):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_afterwards_everything_is_as_before_whatever_was_raised():
    model = tiny_model(tiny_cfg("MODEL.BACKBONE.FREEZE_AT", 2))
    _, runs = counted(model.backbone.stem)
    data = batch()
    with pytest.raises(KeyboardInterrupt), model.shared_prefix():
        losses(model, data)
        raise KeyboardInterrupt
    assert "forward" not in vars(model.backbone.stem)
    runs.clear()
    losses(model, data)
    losses(model, data)
    assert len(runs) == 4


def test_other_images_and_changed_features_are_computed_anew():
    model = tiny_model(tiny_cfg("MODEL.BACKBONE.FREEZE_AT", 1))
    data, other = batch(seed=0), batch(seed=1)
    with model.shared_prefix():
        a = model.backbone_features(data["source"])["res2"]
        b = model.backbone_features(other["source"])["res2"]
        images = model._prefix.images(data["source"], model.preprocess_image)
        model.backbone.stem(images.tensor).zero_()  # somebody works in place
        c = model.backbone_features(data["source"])["res2"]
    assert not torch.equal(a, b)
    assert torch.equal(a, c)


def test_layers_with_state_or_randomness_are_not_remembered():
    layer = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
    layer.requires_grad_(False)
    backbone = torch.nn.Sequential(layer)
    x = torch.randn(2, 3, 5, 5)
    prefix = FrozenPrefix()
    for training, runs in ((True, 2), (False, 1)):
        layer.train(training)
        count = []
        handle = layer[0].register_forward_hook(lambda *a, seen=count: seen.append(1))
        with prefix.shared(backbone):
            backbone(x)
            backbone(x)
        handle.remove()
        assert len(count) == runs, training
        count.clear()


def test_autocast_and_full_precision_do_not_share():
    model = tiny_model(tiny_cfg("MODEL.BACKBONE.FREEZE_AT", 1))
    x = torch.randn(1, 3, 32, 32)
    with model.shared_prefix():
        full = model.backbone.stem(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = model.backbone.stem(x)
    assert (full.dtype, half.dtype) == (torch.float32, torch.bfloat16)
