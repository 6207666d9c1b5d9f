"""Weak and strong views in a batch: aligned, reproducible, and nobody else's numbers changed."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.data import build_adaptation_train_loader
from metaalign_det.errors import UserError
from tests.data.loader.test_build import PAIR, contents, take
from tests.data.trees import tiny_cfg


def cfg_with(source="weak", target="weak"):
    cfg = tiny_cfg(**PAIR)
    cfg.INPUT.VIEWS.SOURCE, cfg.INPUT.VIEWS.TARGET = source, target
    return cfg


def batches(cfg, count=3, **kwargs):
    return contents(take(build_adaptation_train_loader(cfg, **kwargs), count))


@pytest.mark.parametrize("source", ["weak", "strong", "both"])
@pytest.mark.parametrize("target", ["weak", "strong", "both"])
def test_a_batch_has_the_views_asked_for_and_no_other(datasets, source, target):
    expected = set()
    for domain, views in (("source", source), ("target", target)):
        if views != "strong":
            expected.add(domain)
        if views != "weak":
            expected.add(f"{domain}_strong")
    (batch,) = take(build_adaptation_train_loader(cfg_with(source, target)), 1)
    assert set(batch) == expected
    assert all(len(images) == 2 for images in batch.values())


def test_a_strong_view_is_the_same_image_with_the_same_boxes(datasets):
    changed = 0
    for batch in take(build_adaptation_train_loader(cfg_with("both", "both")), 4):
        for domain in ("source", "target"):
            for weak, strong in zip(batch[domain], batch[f"{domain}_strong"]):
                assert strong.keys() == weak.keys()
                assert ("instances" in weak) == (domain == "source")
                assert all(strong[key] is weak[key] for key in weak if key != "image")
                assert strong["image"].shape == weak["image"].shape
                changed += not torch.equal(strong["image"], weak["image"])
    assert changed == 16


def test_strong_views_change_no_other_number(datasets):
    plain = batches(cfg_with())
    for source, target in (("both", "weak"), ("weak", "both"), ("both", "both")):
        for batch, before in zip(batches(cfg_with(source, target)), plain):
            assert {key: batch[key] for key in before} == before


def test_a_strong_view_does_not_depend_on_which_others_there_are(datasets):
    both = batches(cfg_with("both", "both"))
    for batch, alone in zip(both, batches(cfg_with("strong", "strong"))):
        assert alone == {key: batch[key] for key in ("source_strong", "target_strong")}


def test_images_are_strengthened_apart_and_anew_in_every_epoch(datasets):
    cfg = cfg_with("both")
    cfg.INPUT.MIN_SIZE_TRAIN = (48,)
    seen = set()
    for batch in take(build_adaptation_train_loader(cfg), 24):
        for weak, strong in zip(batch["source"], batch["source_strong"]):
            seen.add((weak["file_name"], float(strong["image"].float().mean())))
    assert len(seen) == 48


def test_workers_and_resuming_change_nothing(datasets):
    cfg = cfg_with("both", "both")
    whole = batches(cfg, 4)
    assert batches(cfg, 2, start_iter=2) == whole[2:]
    cfg.DATALOADER.NUM_WORKERS = 2
    assert batches(cfg, 4) == whole


def test_without_a_target_its_lists_are_empty(datasets):
    cfg = tiny_cfg(TRAIN=PAIR["TRAIN"])
    cfg.INPUT.VIEWS.TARGET = "both"
    (batch,) = take(build_adaptation_train_loader(cfg), 1)
    assert batch["target"] == batch["target_strong"] == []


def test_an_unknown_view_is_refused(datasets):
    with pytest.raises(UserError, match="INPUT.VIEWS.TARGET must be weak, strong, both, not 'no'"):
        build_adaptation_train_loader(cfg_with(target="no"))
