"""Within ``fixed_samples`` a pass at other parameters sees the regions of the pass before it."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from metaalign_det.coordination import call_at
from tests.tiny import images, tiny_cfg, tiny_model


@pytest.fixture(autouse=True)
def _storage():
    with EventStorage():
        yield


def moved(model):
    """Parameters at which the same images have other proposals."""
    g = torch.Generator().manual_seed(5)
    return {
        name: p + 0.02 * torch.randn(p.shape, generator=g) if "backbone" in name else p
        for name, p in model.named_parameters()
    }


def spy_on_regions(model, monkeypatch):
    """Boxes of the regions of each pass over a detector's box head, one tensor a pass."""
    seen, pooled = [], model.roi_heads.box_pooler.forward

    def note(maps, boxes):
        seen.append(torch.cat([x.tensor for x in boxes]).clone())
        return pooled(maps, boxes)

    monkeypatch.setattr(model.roi_heads.box_pooler, "forward", note)
    return seen


def without_labels(seed):
    empty = Instances((64, 64))
    empty.gt_boxes = Boxes(torch.zeros(0, 4))
    empty.gt_classes = torch.zeros(0, dtype=torch.long)
    return [{**x, "instances": empty} for x in images(2, 0, seed=seed)]


def test_micro_batches_without_labels_keep_their_own_regions(monkeypatch):
    model = tiny_model(tiny_cfg(discriminators=()))
    here, there = dict(model.named_parameters()), moved(model)
    one, other = without_labels(1), without_labels(2)
    seen = spy_on_regions(model, monkeypatch)
    with model.fixed_samples():
        for params in (here, there):
            for source in (one, other):
                call_at(model, params, "task_losses", source)
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert seen[0].shape != seen[1].shape or not torch.equal(seen[0], seen[1])


def test_distilled_micro_batches_without_labels_keep_their_own_regions(monkeypatch):
    model = tiny_model(tiny_cfg(discriminators=()))
    teacher = tiny_model(tiny_cfg(discriminators=()), seed=1).eval()
    one, other = images(1, 1, seed=1), images(1, 1, seed=2)
    seen = spy_on_regions(model, monkeypatch)
    with model.fixed_samples():
        for weak in (one, other, one):
            targets = teacher.soft_targets(weak)
            # Above every score: no label, and so regions of the background alone.
            model.distillation_losses(weak, teacher, targets, threshold=1.1)
    assert torch.equal(seen[0], seen[2])
    assert seen[0].shape != seen[1].shape or not torch.equal(seen[0], seen[1])


def test_the_instance_discriminator_sees_the_same_regions_at_other_parameters(monkeypatch):
    model = tiny_model(tiny_cfg(discriminators=("INSTANCE",)))
    here, there = dict(model.named_parameters()), moved(model)
    source, target = images(2, 0), images(2, 1, labelled=False)
    seen = spy_on_regions(model, monkeypatch)
    with model.fixed_samples():
        for params in (here, there):
            call_at(model, params, "alignment_terms", source, target)
        with torch.no_grad():  # for statistics, which belong to the parameters it runs at
            call_at(model, there, "alignment_terms", source, [])
    call_at(model, there, "alignment_terms", source, [])
    assert torch.equal(seen[0], seen[2]) and torch.equal(seen[1], seen[3])
    assert not torch.equal(seen[0], seen[1]), "each domain has its own"
    assert torch.equal(seen[4], seen[5]), "the block has ended"
    assert seen[5].shape != seen[0].shape or not torch.equal(seen[5], seen[0])
