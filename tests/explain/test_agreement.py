from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from metaalign_det.adaptation.objectives import Objectives
from metaalign_det.adaptation.step import StepContext
from metaalign_det.errors import UserError
from metaalign_det.explain import agreement_pictures
from metaalign_det.explain.agreement import (
    WHOLE,
    Agreement,
    _groups,
    _measure,
    aligns,
    averages,
    interval,
    measure_agreement,
)
from metaalign_det.explain.gradients_report import _cell
from metaalign_det.explain.objectives import ALIGNMENT, TASK, BatchObjectives
from metaalign_det.explain.runs import open_runs
from tests.explain.conftest import detector_cfg, write_run
from tests.explain.toys import Quadratic, Watched

SCALES = (1.0, 2.0)


@pytest.fixture
def toy():
    torch.manual_seed(1)
    a, b = torch.randn(2, 4, 4, dtype=torch.double)
    c, theta = torch.randn(2, 4, dtype=torch.double)
    return Quadratic(a @ a.T, b @ b.T, c, theta)


def measured(toy, alphas=(0.1,), second_order=True):
    result = Agreement("toy", 0, [])
    before = None
    for seed, scale in enumerate(SCALES):
        batch = {"source": [{"scale": scale}], "target": []}
        with BatchObjectives(toy, batch, seed, 0).open() as objectives:
            before = _measure(result, objectives, _groups(toy), alphas, second_order, before)
    return result


def test_gradients_and_products_are_those_of_the_quadratics(toy):
    theta = toy.backbone["theta"].detach()
    v, g = toy.p @ theta, toy.q @ (theta - toy.c)
    found = {k: x[0] for k, x in measured(toy).at_theta["all"].items()}
    assert found["inner"] == pytest.approx(float(g @ v))
    assert found["cosine"] == pytest.approx(float(g @ v / (g.norm() * v.norm())))
    assert found["norm_task"] == pytest.approx(float(v.norm()))
    assert found["norm_alignment"] == pytest.approx(float(g.norm()))
    assert found["half_task"] == pytest.approx(float((toy.p @ g).norm()))
    assert found["half_alignment"] == pytest.approx(float((toy.q @ v).norm()))
    assert found["curvature"] == pytest.approx(float(g @ toy.p @ g / (g @ g)))


def test_along_the_step_both_gradients_are_taken_there(toy):
    theta, alpha = toy.backbone["theta"].detach(), 0.1
    v, g = toy.p @ theta, toy.q @ (theta - toy.c)
    there = theta - alpha * g
    v1, g1 = toy.p @ there, toy.q @ (there - toy.c)
    found = {k: x[0] for k, x in measured(toy).along[alpha][WHOLE].items()}
    assert found["cosine"] == pytest.approx(float(g1 @ v1 / (g1.norm() * v1.norm())))
    assert found["change"] == pytest.approx(float((v1 - v).norm() / v.norm()))
    rise = float(there @ toy.p @ there - theta @ toy.p @ theta) / 2
    assert found["task_rise"] == pytest.approx(rise)


def test_of_a_quadratic_task_all_that_a_lookahead_changes_is_odd(toy):
    theta, alpha = toy.backbone["theta"].detach(), 0.1
    v, g = toy.p @ theta, toy.q @ (theta - toy.c)
    along = measured(toy, alphas=(-alpha, alpha)).along
    found = {k: x[0] for k, x in along[alpha][WHOLE].items()}
    assert found["odd"] == pytest.approx(float(alpha * (toy.p @ g).norm() / v.norm()))
    assert found["odd"] == pytest.approx(found["change"])
    assert found["even"] == pytest.approx(0, abs=1e-12)
    assert "odd" not in along[-alpha][WHOLE]


def test_the_sum_of_both_halves_is_the_gradient_of_the_inner_product(toy):
    batch = {"source": [{"scale": 1.0}], "target": []}
    with BatchObjectives(toy, batch, 0, 0).open() as objectives:
        g, v = objectives.gradient(ALIGNMENT)[0], objectives.gradient(TASK)[0]
        halves = [objectives.hessian_vector(TASK, g), objectives.hessian_vector(ALIGNMENT, v)]
        name, eps = "backbone.theta", 1e-5
        for i in range(4):
            ends = []
            for sign in (1, -1):
                moved = {name: objectives.params[name].clone()}
                moved[name][i] += sign * eps
                there = [objectives.gradient(w, moved)[0][name] for w in (ALIGNMENT, TASK)]
                ends.append(float(there[0] @ there[1]))
            slope = (ends[0] - ends[1]) / (2 * eps)
            assert sum(float(h[name][i]) for h in halves) == pytest.approx(slope, rel=1e-5)


@pytest.mark.parametrize(
    "views",
    [
        ("source", "target"),
        ("source", "target", "target_strong"),
        ("source_strong", "target_strong"),
        ("source_strong", "target", "target_strong"),
        ("source", "source_strong", "target", "target_strong"),
        ("source",),
    ],
)
def test_the_images_are_those_of_a_training_step(toy, views):
    model = Watched(toy.p, toy.q, toy.c, toy.backbone["theta"].detach())
    model.alignment_needs_target = "target" in "".join(views)
    batch = {view: [{"scale": 1.0, "view": view}] for view in views}
    step = StepContext(model)
    training = Objectives(step, [batch])
    for objective in (training.task(), training.alignment()):
        for _, part in objective:
            part(step.parameters)
    trained_on, model.seen = model.seen, []
    with BatchObjectives(model, batch, 0, 0).open() as objectives:
        objectives.gradient(TASK)
        objectives.gradient(ALIGNMENT)
    assert len(trained_on) == 2 and model.seen == trained_on


def test_batches_that_differ_in_scale_alone_agree_perfectly(toy):
    found = measured(toy).at_theta["all"]
    assert found["cosine_task_batches"] == [pytest.approx(1)]
    assert found["norm_task"][1] == pytest.approx(2 * found["norm_task"][0])


def test_second_derivatives_can_be_left_out(toy):
    assert "half_task" not in measured(toy, second_order=False).at_theta["all"]


def test_intervals_are_students_and_of_sizes_geometric():
    found = interval([1.0, 2.0, 3.0, float("nan")])
    assert (found["mean"], found["batches"]) == (2, 3)
    assert found["high"] - 2 == pytest.approx(4.303 / 3**0.5, rel=1e-3)
    assert interval([1.0, 100.0], size=True)["mean"] == pytest.approx(10)
    assert np.isnan(interval([])["mean"])


def test_a_mean_without_an_interval_stands_alone_in_the_table():
    known = {"mean": 0.5, "low": 0.25, "high": 0.75, "batches": 4}
    assert _cell(known) == "0.5 (0.25 to 0.75)"
    assert _cell({**known, "low": np.nan, "high": np.nan}) == "0.5"


def test_the_charts_have_every_run_however_many(toy, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(agreement_pictures, "save", lambda figure, path: drawn.append(figure))
    one = measured(toy)
    one.stages = list(one.at_theta)
    runs = [replace(one, label=f"run {i}") for i in range(9)]
    agreement_pictures.draw_agreement(tmp_path / "x.png", runs)
    along = drawn[0].axes[2]
    assert along.get_title() == "along the alignment step"
    assert len([line for line in along.lines if line.get_marker() == "o"]) == 9
    agreement_pictures.draw_over_training(tmp_path / "x.png", runs)
    named = [t.get_text() for t in drawn[1].axes[0].get_legend().get_texts()]
    assert {r.label for r in runs} <= set(named)


class TestRun:
    @pytest.fixture
    def runs(self, run_folders, datasets):
        return {run.label: run for run in open_runs([str(run_folders)])}

    def test_a_detectors_stages_are_measured_the_same_each_time(self, runs):
        run = runs["swda"]
        iteration, path = run.checkpoints()[-1]
        found = [
            measure_agreement(run, iteration, path, batches=2, alphas=[0.1], seed=4)
            for _ in range(2)
        ]
        assert found[0] == found[1]
        assert found[0].stages == ["stem+res2", "res3", "res4", WHOLE]
        for quantities in averages(found[0].at_theta).values():
            assert all(np.isfinite(q["mean"]) for q in quantities.values())

    def test_stages_add_up_to_the_backbone(self, runs):
        run = runs["swda"]
        found = measure_agreement(
            run, 5, run.checkpoint(), batches=1, alphas=[], second_order=False
        ).at_theta
        parts = sum(found[s]["inner"][0] for s in ("stem+res2", "res3", "res4"))
        assert parts == pytest.approx(found[WHOLE]["inner"][0], rel=1e-6)

    @pytest.mark.parametrize("views", [("strong", "strong"), ("both", "both")])
    def test_strong_views_are_measured_too(self, views, datasets, tmp_path):
        source, target = views
        cfg = detector_cfg("INPUT.VIEWS.SOURCE", source, "INPUT.VIEWS.TARGET", target)
        (run,) = open_runs([str(write_run(tmp_path / "run", cfg))])
        found = measure_agreement(
            run, 5, run.checkpoint(), batches=1, alphas=[], second_order=False
        ).at_theta
        assert np.isfinite(found[WHOLE]["cosine"][0])

    def test_runs_without_discriminators_do_not_align(self, runs):
        assert aligns(runs["swda"])
        assert not aligns(runs["source"])


def test_a_frozen_backbone_is_the_users_to_fix(toy):
    toy.requires_grad_(False)
    with pytest.raises(UserError, match="FREEZE_AT"):
        _groups(toy)
