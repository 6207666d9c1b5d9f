"""The step around its gradients: parts, scales, scopes, random numbers, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.function import once_differentiable

from metaalign_det.coordination import (
    DoubleBackwardError,
    NonFiniteLossError,
    Objective,
    StageGroups,
    UnreachedParameterError,
    call_at,
    evaluate,
)
from tests.coordination.toys import coordinated_step, relative_error, toy

ALPHA, BETA = 0.3, (0.8, 1.3)


@pytest.mark.parametrize("order", ["first", "exact"])
@pytest.mark.parametrize("hvp", ["keep_graph", "recompute"])
def test_parts_add_up_to_the_whole(order, hvp):
    t = toy()
    halves = [(t.x[:4], t.y[:4]), (t.x[4:], t.y[4:])]
    model = t.model

    def part(x, y):
        return lambda p: call_at(model, p, "task_losses", x, y)

    split = Objective([part(x, y) for x, y in halves], [4 / 7, 3 / 7])
    kwargs = {"order": order, "hvp": hvp, "role": "task"}
    whole = coordinated_step(t.task, t.alignment, t.params, t.groups, BETA, ALPHA, **kwargs)
    parts = coordinated_step(split, t.alignment, t.params, t.groups, BETA, ALPHA, **kwargs)
    for n, g in whole.gradients.items():
        assert relative_error(parts.gradients[n], g) < 1e-12
    assert parts.losses["loss_cls"].item() == pytest.approx(whole.losses["loss_cls"].item())


@pytest.mark.parametrize("order", ["first", "exact"])
def test_loss_scale_changes_nothing(order):
    t = toy()
    plain, scaled = (
        coordinated_step(
            t.task, t.alignment, t.params, t.groups, BETA, ALPHA, order=order, loss_scale=scale
        )
        for scale in (None, 1024.0)
    )
    assert scaled.finite
    for n, g in plain.gradients.items():
        assert relative_error(scaled.gradients[n], g) < 1e-12, n


def test_an_overflowing_scale_is_reported_before_the_inner_step():
    t = toy()
    seen = []

    def task(p):
        seen.append(p)
        return t.task(p)

    result = coordinated_step(
        task, t.alignment, t.params, t.groups, BETA, ALPHA, loss_scale=1e308 * 10
    )
    assert not result.finite
    assert not seen, "the validating pass would have run at infinite parameters"


def test_frozen_parameters_get_no_gradient_and_no_step():
    t = toy()
    for p in t.model.stage1.parameters():
        p.requires_grad_(False)
    groups = StageGroups.from_prefixes(
        {"one": ["stage1"], "two": ["stage2"]}, t.params, drop_frozen=True
    )
    assert groups.names == ("two",)
    result = coordinated_step(t.task, t.alignment, t.params, groups, [1.0], ALPHA, order="exact")
    assert not any(n.startswith("stage1") for n in result.gradients)


def test_scope_all_moves_heads_and_discriminators_along_their_own_gradients():
    t = toy()
    groups = StageGroups.from_prefixes(
        {"one": ["stage1"], "two": ["stage2"]}, t.params, rest=True, rest_factor=10.0
    )
    assert set(groups.scope) == set(t.params)
    seen = {}

    def task(p):
        seen.update(p)
        return t.task(p)

    coordinated_step(task, t.alignment, t.params, groups, BETA, ALPHA)
    g = evaluate(Objective.of(t.alignment), t.params).gradients
    for name, weight in (("stage2.0.weight", BETA[1]), ("critics.far.weight", 10.0)):
        expected = t.params[name] - ALPHA * weight * g[name]
        assert relative_error(seen[name], expected) < 1e-14


def test_a_parameter_that_neither_objective_reaches_is_named():
    t = toy()
    t.model.stage1.register_parameter("spare", torch.nn.Parameter(torch.zeros(1).double()))
    params = dict(t.model.named_parameters())
    groups = StageGroups.from_prefixes({"one": ["stage1"], "two": ["stage2"]}, params)
    with pytest.raises(UnreachedParameterError, match=r"stage1\.spare"):
        coordinated_step(t.task, t.alignment, params, groups, BETA, ALPHA)


def test_parameters_reached_by_one_objective_only_take_part():
    t = toy(lambdas=(0.7, 0.0), distance=0.0)  # alignment does not reach stage2
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, BETA, ALPHA, order="exact", telemetry=True
    )
    assert result.beta_gradient[1] == 0
    assert result.telemetry["lookahead/cosine/two"] == 0
    assert result.gradients["stage2.0.weight"].abs().sum() > 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_named(bad):
    t = toy()
    with pytest.raises(NonFiniteLossError, match="loss_bad"):
        coordinated_step(
            lambda p: {**t.task(p), "loss_bad": t.x.sum() * bad},
            t.alignment, t.params, t.groups, BETA, ALPHA,
        )  # fmt: skip


def test_a_loss_that_is_not_a_scalar_is_named():
    t = toy()
    with pytest.raises(ValueError, match=r"'loss_rows' is not a scalar: its shape is \(7,\)"):
        coordinated_step(
            lambda p: {"loss_rows": t.x.sum(1)}, t.alignment, t.params, t.groups, BETA, ALPHA
        )


@pytest.mark.parametrize(
    "kwargs, named",
    [
        ({"role": "both"}, "unknown role 'both'"),
        ({"order": "second"}, "unknown order 'second'"),
        ({"hvp": "forward", "order": "exact"}, "unknown hvp 'forward'"),
        ({"inner": "mine"}, "unknown inner gradient 'mine'"),
    ],
)
def test_unknown_choices_are_named_with_the_legal_ones(kwargs, named):
    t = toy()
    with pytest.raises(ValueError, match=named + "; choose one of"):
        coordinated_step(t.task, t.alignment, t.params, t.groups, BETA, ALPHA, **kwargs)


def test_random_numbers_are_replayed_and_the_stream_left_where_one_pass_leaves_it():
    t = toy()
    dropout = torch.nn.Dropout(0.5)

    def alignment(p):
        terms = t.alignment(p)
        noise = dropout(torch.ones(9).double()).mean()
        return {k: v.scaled(1 + noise) for k, v in terms.items()}

    ends, grads = [], []
    for hvp in ("keep_graph", "recompute"):
        torch.manual_seed(5)
        result = coordinated_step(
            t.task, alignment, t.params, t.groups, BETA, ALPHA, order="exact", hvp=hvp
        )
        grads.append(result.gradients)
        ends.append(torch.rand(3))
    torch.manual_seed(5)
    dropout(torch.ones(9).double())
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], torch.rand(3))
    for n, g in grads[0].items():
        assert relative_error(grads[1][n], g) < 1e-12


def test_relative_change_is_the_change_of_the_validating_gradient():
    t = toy()
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, BETA, ALPHA, measure_change=True
    )
    g = evaluate(Objective.of(t.alignment), t.params).gradients
    weight = t.groups.weight_of(BETA)
    moved = {
        n: (t.params[n] - ALPHA * weight[n] * g[n]).detach().requires_grad_()
        for n in t.groups.scope
    }
    there = evaluate(Objective.of(t.task), {**t.params, **moved}).gradients
    here = evaluate(Objective.of(t.task), t.params).gradients
    a, b = (torch.cat([d[n].flatten() for n in t.groups.scope]) for d in (there, here))
    expected = ((a - b).norm() / b.norm()).item()
    assert result.telemetry["lookahead/relative_change"] == pytest.approx(expected, rel=1e-10)


class Square(torch.autograd.Function):
    """x^2 as many libraries write it: its gradient is right, and has none."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        return 2 * grad * ctx.saved_tensors[0]


@pytest.mark.parametrize("hvp", ["keep_graph", "recompute"])
def test_exact_names_an_operator_that_is_marked_once_differentiable(hvp):
    t = toy()

    def alignment(p):
        return {"gap": (Square.apply(p["stage1.0.weight"]).sum() - 1) ** 2}

    args = (t.task, alignment, t.params, t.groups, BETA, ALPHA)
    coordinated_step(*args, role="task", order="exact", hvp=hvp)  # the task looks, twice smooth
    coordinated_step(*args)
    with pytest.raises(DoubleBackwardError, match="none: Square.*once_differentiable"):
        coordinated_step(*args, order="exact", hvp=hvp)
