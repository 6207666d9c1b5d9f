"""One rule for the split of a batch."""

from __future__ import annotations

import pytest

from metaalign_det.data.loader.batch_split import BatchSplit, check_batches, split_batch_sizes
from metaalign_det.errors import UserError
from tests.data.trees import tiny_cfg

NAMES = {"TRAIN": ("a", "b"), "TARGET": ("c",)}


def cfg_of(source=4, target=0, accumulation=1, domains=(0, 1), method="none", **names):
    cfg = tiny_cfg(**{**NAMES, **names}, TRAIN_DOMAINS=domains)
    cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.IMS_PER_BATCH_TARGET = source, target
    cfg.SOLVER.ACCUMULATION_STEPS = accumulation
    cfg.MODEL.ALIGN.METHOD = method
    return cfg


def test_sources_share_the_batch_and_the_target_has_one_of_its_own():
    assert split_batch_sizes(cfg_of()) == BatchSplit(2, 2, 4, 1)
    assert split_batch_sizes(cfg_of(target=6, domains=(), accumulation=2)) == BatchSplit(1, 4, 6, 2)
    assert split_batch_sizes(cfg_of(TARGET=())).target == 0


def test_processes_and_micro_batches_count_alike(monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    assert split_batch_sizes(cfg_of(source=8, accumulation=2)) == BatchSplit(2, 4, 8, 4)
    with pytest.raises(UserError, match=r"IMS_PER_BATCH = 4 .* 2 source domains, 2 process\(es\)"):
        split_batch_sizes(cfg_of(accumulation=2))
    with pytest.raises(UserError, match="IMS_PER_BATCH_TARGET = 6 .*make it a multiple of 4"):
        split_batch_sizes(cfg_of(source=8, target=6, accumulation=2))


def test_the_log_says_what_a_step_takes_and_what_each_process_gets(monkeypatch):
    assert str(split_batch_sizes(cfg_of(domains=()))) == (
        "every step takes 4 source and 4 target images"
    )
    assert str(split_batch_sizes(cfg_of(TARGET=()))) == (
        "every step takes 4 source images, of 2 source domains"
    )
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    assert str(split_batch_sizes(cfg_of(source=8, accumulation=2, domains=()))) == (
        "every step takes 8 source and 8 target images over all processes: "
        "2 and 2 in each of 2, 2 times (SOLVER.ACCUMULATION_STEPS)"
    )


@pytest.mark.parametrize(("between", "fits"), [("target", True), ("domains", False)])
def test_a_distance_needs_two_images_of_each_domain(between, fits):
    cfg = cfg_of(source=2, target=2, method="mmd")
    cfg.MODEL.ALIGN.BETWEEN = between
    if fits:
        assert check_batches(cfg) == split_batch_sizes(cfg)
    else:
        with pytest.raises(UserError, match="'mmd' .* at least 2 images .* leaves 1"):
            check_batches(cfg)
    cfg.MODEL.ALIGN.METHOD = "dann"
    check_batches(cfg)
