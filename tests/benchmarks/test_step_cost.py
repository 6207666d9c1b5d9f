"""Every arm of the benchmark computes what it says, and the table adds up."""

from __future__ import annotations

import json

import pytest
import torch
from detectron2.utils.events import EventStorage

from benchmarks.step_cost.__main__ import arguments
from benchmarks.step_cost.arms import ARMS
from benchmarks.step_cost.measure import Bench, Timings, measure_time
from benchmarks.step_cost.tables import as_json, rows_of
from metaalign_det.config import load_cfg
from metaalign_det.errors import UserError
from metaalign_det.files import write_json
from tests.coordination.toys import relative_error
from tests.tiny import tiny_cfg

OPTS = ("METAALIGN.META_LR", 0.0, "MODEL.DA.GLOBAL.DROPOUT", 0.0)


@pytest.fixture(scope="module")
def bench():
    return Bench(tiny_cfg(*OPTS), (64, 64))


def gradients(bench, arm):
    bench.step(arm, 0)
    return {n: p.grad.clone() for n, p in bench.model.named_parameters() if p.grad is not None}


def test_the_passes_of_a_classifier_are_there_as_well():
    cfg = load_cfg("mini_digits/dann.yaml", ["MODEL.DEVICE", "cpu"])
    bench = Bench(cfg, (32, 32))
    with EventStorage(0) as bench.loop.storage:
        assert all(passes() is not None for passes in bench.forwards().values())


#: Arms that without a step ahead have the gradients of joint training.
JOINT_AT_REST = [a for a in ARMS if a.startswith(("first", "exact", "authors", "extragradient"))]


@pytest.mark.parametrize("arm", JOINT_AT_REST)
def test_without_a_step_every_arm_computes_the_gradients_of_plain_training(bench, arm):
    plain, other = gradients(bench, "plain"), gradients(bench, arm)
    assert plain.keys() == other.keys()
    for name, g in plain.items():
        assert relative_error(other[name].double(), g.double()) < 1e-3, name


@pytest.mark.parametrize("arm", [a for a in ARMS if a not in ("plain", *JOINT_AT_REST)])
def test_every_other_arm_computes_something_else_that_is_finite(bench, arm):
    plain, other = gradients(bench, "plain"), gradients(bench, arm)
    assert all(torch.isfinite(g).all() for g in other.values())
    name = "backbone.res2.0.conv1.weight"
    assert relative_error(other[name], plain[name]) > 1e-4 or arm == "pcgrad"


def test_the_weights_stay_where_they_are_so_that_all_rounds_measure_the_same(bench):
    before = {n: p.detach().clone() for n, p in bench.model.named_parameters()}
    bench.step("first-alignment", 1)
    assert all(torch.equal(p, before[n]) for n, p in bench.model.named_parameters())


@pytest.mark.parametrize("arm", ["plain", "first-alignment", "exact-keep"])
def test_channels_last_changes_gradients_by_rounding_alone(bench, arm):
    other = Bench(tiny_cfg(*OPTS, "MODEL.CHANNELS_LAST", True), (64, 64))
    weight = other.model.backbone.res3[0].conv2.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    expected = gradients(bench, arm)
    for name, g in gradients(other, arm).items():
        assert relative_error(g.double(), expected[name].double()) < 1e-3, name


def test_rounds_are_interleaved_and_counted(bench):
    seen = []
    step = bench.step
    bench.step = lambda arm, r: (seen.append((r, arm)), step(arm, r))
    try:
        timings = measure_time(bench, ["plain", "first-alignment"], rounds=2, discard=1)
    finally:
        bench.step = step
    assert [r for r, _ in seen] == [0, 0, 1, 1, 2, 2]
    assert all(len(v) == 2 for v in [*timings.cpu.values(), *timings.wall.values()])


def test_a_config_that_aligns_nothing_is_an_error():
    with pytest.raises(UserError, match="aligns nothing"):
        Bench(tiny_cfg(discriminators=()), (64, 64))


def fake_timings():
    cpu = {"plain": [2.0, 4.0, 3.0], "exact-keep": [3.0, 5.0, 6.0]}
    parts = {"backbone": [1.0], "task": [9.0], "alignment": [3.0], "telemetry": [0.01]}
    return Timings(cpu, {a: [2 * x for x in v] for a, v in cpu.items()}, parts)


def test_ratios_are_medians_of_rounds_and_stand_beside_the_cost_model():
    rows = rows_of(["plain", "exact-keep"], fake_timings(), {"plain": 200.0, "exact-keep": 250.0})
    plain, keep = rows
    assert (plain["CPU time"], plain["cost model"], plain["memory"]) == (1.0, 1.0, 1.0)
    assert keep["CPU time"] == 1.5  # of 1.5, 1.25 and 2; the ratio of medians is 5 / 3
    # b = 1, h = 8, d = 0.5: (21 b + 3 h + 18 d) / (6 b + 3 h + 6 d)
    assert keep["cost model"] == pytest.approx((21 + 24 + 9) / (6 + 24 + 3))
    assert keep["memory"] == 1.25
    assert "memory" not in rows_of(["plain"], fake_timings(), {})[0]


def test_the_cost_of_the_arms_adds_up_from_their_passes():
    look, validate = {"b": 2, "d": 2}, {"b": 1, "h": 1}  # images of both domains, of the source

    def cost(*passes):
        return tuple(sum(n * p.get(k, 0) for n, p in passes) for k in "bhd")

    assert ARMS["first-alignment"].cost == ARMS["first-task"].cost == cost((3, look), (3, validate))
    assert ARMS["exact-keep"].cost == cost((9, look), (3, validate))
    assert ARMS["exact-recompute"].cost == cost((11, look), (3, validate))
    assert ARMS["exact-keep-task"].cost == cost((3, look), (9, validate))
    assert ARMS["exact-recompute-task"].cost == cost((3, look), (11, validate))
    assert ARMS["pcgrad"].cost == ARMS["first-task"].cost
    assert ARMS["extragradient"].cost == cost((6, look), (6, validate))
    assert ARMS["sdat"].cost == cost((3, look), (6, validate))
    teach, learn = {"b": 1, "h": 1}, {"b": 3, "h": 3}
    joint = dict(zip("bhd", ARMS["plain"].cost))
    assert ARMS["teacher-hard"].cost == cost((1, joint), (1, teach), (1, learn))
    assert ARMS["teacher-soft"].cost == cost((1, joint), (1, teach), (1, {"h": 1}), (1, learn))
    assert ARMS["authors-alignment"].cost == cost((5, look), (3, validate))
    assert ARMS["authors-task"].cost == cost((3, look), (5, validate))


def test_the_file_holds_every_round_and_what_it_was_measured_on(tmp_path):
    setting = {"command": "python -m benchmarks.step_cost --preset mini"}
    write_json(tmp_path / "x.json", as_json(["plain", "exact-keep"], fake_timings(), {}, setting))
    read = json.loads((tmp_path / "x.json").read_text())
    assert read["setting"] == setting
    assert set(read["parts"]) == {"b", "h", "d", "telemetry"}
    keep = read["arms"]["exact-keep"]
    assert keep["cpu"] == [3.0, 5.0, 6.0]
    assert keep["cpu_ratio"] == 1.5
    assert keep["memory"] is None and keep["memory_ratio"] is None


@pytest.mark.parametrize("role", ["alignment", "task"])
def test_the_authors_scheme_looks_ahead_with_every_parameter_and_alpha_as_given(role):
    bench = Bench(tiny_cfg("METAALIGN.META_LR", 5.0, "MODEL.DA.GLOBAL.DROPOUT", 0.0), (64, 64))
    ahead = gradients(bench, f"authors-{role}")
    ours = Bench(
        tiny_cfg(
            "METAALIGN.META_LR", 5.0, "MODEL.DA.GLOBAL.DROPOUT", 0.0, "METAALIGN.SCOPE", "all",
            "METAALIGN.BETA.MODE", "frozen",
        ),
        (64, 64),
    )  # fmt: skip
    expected = gradients(ours, f"first-{role}")
    plain = gradients(bench, "plain")
    name = "backbone.res2.0.conv1.weight"
    assert relative_error(ahead[name], plain[name]) > 1e-3  # the step is long enough to show
    for name, g in expected.items():
        assert relative_error(ahead[name].double(), g.double()) < 1e-3, name


def test_an_arm_that_is_named_twice_is_measured_once(monkeypatch):
    command = "step_cost --preset mini --arms first-task first-task"
    monkeypatch.setattr("sys.argv", command.split())
    assert arguments().arms == ["plain", "first-task"]
