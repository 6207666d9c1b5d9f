from __future__ import annotations

import pytest
import torch

from metaalign_det.analysis.benchmark import ARMS, Bench, measure_time
from metaalign_det.errors import UserError
from tests.lookahead.toys import relative_error
from tests.tiny import tiny_cfg

OPTS = ("METAALIGN.META_LR", 0.0, "MODEL.DA.GLOBAL.DROPOUT", 0.0)


@pytest.fixture(scope="module")
def bench():
    return Bench(tiny_cfg(*OPTS), (64, 64))


def gradients(bench, arm):
    bench.step(arm, 0)
    return {n: p.grad.clone() for n, p in bench.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("arm", [a for a in ARMS if a != "plain"])
def test_without_a_step_every_arm_computes_the_gradients_of_plain_training(bench, arm):
    plain, other = gradients(bench, "plain"), gradients(bench, arm)
    assert plain.keys() == other.keys()
    for name, g in plain.items():
        assert relative_error(other[name].double(), g.double()) < 1e-3, name


def test_the_weights_stay_where_they_are_so_that_all_rounds_measure_the_same(bench):
    before = {n: p.detach().clone() for n, p in bench.model.named_parameters()}
    bench.step("first-domain", 1)
    assert all(torch.equal(p, before[n]) for n, p in bench.model.named_parameters())


def test_rounds_are_interleaved_and_counted(bench):
    seen = []
    step = bench.step
    bench.step = lambda arm, r: (seen.append((r, arm)), step(arm, r))
    try:
        timings = measure_time(bench, ["plain", "first-domain"], rounds=2, discard=1)
    finally:
        bench.step = step
    assert [r for r, _ in seen] == [0, 0, 1, 1, 2, 2]
    assert all(len(v) == 2 for v in [*timings.cpu.values(), *timings.wall.values()])


def test_a_config_that_aligns_nothing_is_an_error():
    with pytest.raises(UserError, match="aligns nothing"):
        Bench(tiny_cfg(discriminators=()), (64, 64))
