"""The checks of a GPU: on the CPU they pass and can fail; with a GPU they are run on it."""

from __future__ import annotations

import json
import math

import pytest
import torch

from benchmarks.gpu_check import __main__ as gpu_check
from benchmarks.gpu_check import numerics
from benchmarks.gpu_check.rows import Check, relative_difference
from benchmarks.gpu_check.several import no_tf32
from metaalign_det.errors import UserError

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def names(device, group):
    checks = gpu_check.all_checks(device, steps=gpu_check.CLOSE, image_size=0)
    return [f"{c.group}: {c.name}" for c in checks if c.group in group]


def find(device, name, **kwargs):
    options = {"steps": 100, "image_size": 0, **kwargs}
    (check,) = (
        c for c in gpu_check.all_checks(device, **options) if f"{c.group}: {c.name}" == name
    )
    return check


# ---- on a GPU -----------------------------------------------------------------------------------

GROUPS = ("operator", "random", "step", "exact", "coordinator", "miniature", "teacher",
          "checkpoint", "processes", "arm")  # fmt: skip


@pytest.mark.cuda
@needs_gpu
@pytest.mark.parametrize("name", names("cuda", GROUPS))
def test_a_gpu_computes_what_the_cpu_computes(name):
    no_tf32()
    row = find("cuda", name).run()
    assert row.passed, row.cells()


# ---- the checks themselves ----------------------------------------------------------------------


@pytest.mark.parametrize("name", names("cpu", ("operator", "random")))
def test_the_checks_of_operators_and_random_numbers_pass_on_the_cpu(name):
    row = find("cpu", name).run()
    assert row.passed and row.measured == 0


def test_a_wrong_sign_in_the_gradients_is_found(monkeypatch):
    opts = ("METAALIGN.ENABLED", "True", "METAALIGN.ROLE", "task", "METAALIGN.META_LR", "5.0")
    assert numerics.against_cpu("classifier", "cpu", *opts) == 0
    look_ahead = numerics.Trial.gradients

    def negated(self):
        found = look_ahead(self)
        name = next(n for n in found.by_name if n.startswith("alignment"))
        return type(found)({**found.by_name, name: -found.by_name[name]}, found.losses)

    monkeypatch.setattr(numerics.Trial, "gradients", negated)
    assert numerics.against_cpu("classifier", "cpu", *opts) > numerics.FLOAT32[0]


@pytest.mark.parametrize("model", ["detector", "classifier"])
@pytest.mark.parametrize("role", ["alignment", "task"])
def test_a_missing_second_order_term_would_be_found(model, role):
    opts = (*numerics._EXACT, role)
    exact = numerics.trial_cfg(model, "cpu", *opts)
    first = numerics.trial_cfg(model, "cpu", *opts, "METAALIGN.ORDER", "first")
    size = {"detector": (96, 96), "classifier": (32, 32)}[model]
    found, expected = (numerics.Trial(cfg, size).gradients().by_name for cfg in (first, exact))
    assert relative_difference(found, expected) > 2 * numerics.EXACT[0]


def test_half_precision_is_within_its_tolerance_and_differs():
    for precision, (tolerance, _) in (
        ("bfloat16", numerics.BFLOAT16),
        ("float16", numerics.FLOAT16),
    ):
        difference = numerics.against_cpu("classifier", "cpu", precision=precision)
        assert 1e-4 < difference < tolerance


def test_a_tensor_that_is_missing_on_one_side_is_an_infinite_difference():
    a, b = {"x": torch.ones(2), "y": None}, {"x": torch.ones(2), "y": torch.ones(1)}
    assert relative_difference(a, a) == 0
    assert relative_difference(a, b) == relative_difference(b, a) == math.inf


@pytest.mark.parametrize("value, passed", [(0.5, True), (1.5, False), (math.nan, False)])
def test_a_row_passes_within_its_tolerance_alone(value, passed):
    assert Check("group", "name", lambda: value, 1.0).run().passed is passed


def test_a_check_that_raises_fails_and_says_why():
    def broken():
        raise RuntimeError("no kernel image\nis available")

    row = Check("group", "name", broken, 1.0).run()
    assert not row.passed and row.cells()["why"] == "RuntimeError: no kernel image"


def test_every_coordinator_arm_and_precision_has_a_row():
    from benchmarks.step_cost.arms import ARMS
    from metaalign_det.adaptation.registry import GRADIENT_SOURCES

    rows = names("cpu", GROUPS)
    assert len(rows) == len(set(rows))
    for model in ("detector", "classifier"):
        assert all(f"coordinator: {model}, {c}" in rows for c in GRADIENT_SOURCES)
        assert f"step: {model}, float16, scaled" in rows
    assert all(any(r.startswith(f"arm: {arm}, ms") for r in rows) for arm in ARMS)


def test_the_command_writes_one_table_and_one_json_and_its_status_says_whether_all_passed(
    tmp_path, capsys, monkeypatch
):
    file = tmp_path / "gpu.json"
    argv = ["--device", "cpu", "--only", "random", "--output", str(file)]
    assert gpu_check.main(argv) == 0
    assert "2 of 2 checks pass on cpu" in capsys.readouterr().out
    content = json.loads(file.read_text())
    assert content["setting"]["device"] == "cpu"
    assert [r["passed"] for r in content["rows"]] == [True, True]
    monkeypatch.setattr(
        gpu_check, "all_checks", lambda *a: iter([Check("random", "x", lambda: 2.0, 1.0)])
    )
    assert gpu_check.main(argv) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_one_sentence_says_so():
    with pytest.raises(UserError, match="sees 0 CUDA devices here"):
        gpu_check.main([])


@pytest.mark.parametrize("device, match", [("gpu", "is none"), ("meta", "neither cuda nor cpu")])
def test_a_device_that_does_not_exist_is_an_error(device, match):
    with pytest.raises(UserError, match=match):
        gpu_check.require_device(device)
