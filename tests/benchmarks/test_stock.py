"""The source-only step beside Detectron2's: both train the same thing."""

from __future__ import annotations

import pytest
import torch

from benchmarks.step_cost.stock import StockBench, measure
from metaalign_det.errors import UserError
from tests.tiny import tiny_cfg

OPTS = ("MODEL.RPN.BATCH_SIZE_PER_IMAGE", 8192, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 4096)


def test_both_trainers_have_the_same_losses_and_gradients():
    bench = StockBench(tiny_cfg(*OPTS), (64, 64))
    assert bench.step("ours", 0) == pytest.approx(bench.step("stock", 0), rel=1e-5)
    ours, stock = (
        {n: p.grad for n, p in bench.trainers[name].model.named_parameters()}
        for name in ("ours", "stock")
    )
    assert ours.keys() == stock.keys()
    for name, grad in ours.items():
        torch.testing.assert_close(grad, stock[name], rtol=1e-3, atol=1e-6, msg=name)


def test_rounds_that_do_not_count_are_left_out():
    bench = StockBench(tiny_cfg(), (64, 64))
    seconds = measure(bench, rounds=2, discard=1, progress=lambda: None)
    assert {name: len(x) for name, x in seconds.items()} == {"ours": 2, "stock": 2}


def test_a_classifier_has_no_counterpart():
    with pytest.raises(UserError, match="only a detector"):
        StockBench(tiny_cfg("MODEL.META_ARCHITECTURE", "DomainAdaptiveClassifier"), (64, 64))
