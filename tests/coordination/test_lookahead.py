"""The step's gradients against finite differences, one-graph autograd and hand calculation."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.coordination import (
    Objective,
    StageGroups,
    evaluate,
    is_under,
)
from tests.coordination.toys import alignment_value, coordinated_step, relative_error, toy

ALPHA, BETA = 0.3, (0.8, 1.3)


def values(t, role):
    """(look, validate) as scalar functions of parameters, signs included."""

    def task(p):
        return sum(t.task(p).values())

    def alignment(p):
        return alignment_value(t.alignment(p))

    return (alignment, task) if role == "alignment" else (task, alignment)


def whole_objective(t, role, params, beta, *, create_graph=False):
    """look(theta) + validate(theta - alpha beta g(theta)) on one graph: the thing itself."""
    look, validate = values(t, role)
    scope = t.groups.scope
    first = look(params)
    g = torch.autograd.grad(
        first, [params[n] for n in scope], create_graph=create_graph, allow_unused=True
    )
    weight = {n: b for m, b in zip(t.groups.stages.values(), beta) for n in m}
    moved = {n: params[n] - ALPHA * weight[n] * x for n, x in zip(scope, g) if x is not None}
    return first + validate({**params, **moved})


def minimising(t):
    return [n for n in t.params if not n.startswith("critics")]


@pytest.mark.parametrize("role", ["alignment", "task"])
@pytest.mark.parametrize("hvp", ["keep_graph", "recompute"])
def test_exact_equals_central_finite_differences_of_the_objective(role, hvp):
    t = toy()
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, BETA, ALPHA, role=role, order="exact", hvp=hvp
    )
    eps = 1e-5
    for name in minimising(t):
        p = t.params[name]
        numeric = torch.zeros_like(p)
        for i in range(p.numel()):
            ends = []
            for sign in (1, -1):
                q = p.detach().clone().requires_grad_()
                q.data.view(-1)[i] += sign * eps
                ends.append(whole_objective(t, role, {**t.params, name: q}, BETA).item())
            numeric.view(-1)[i] = (ends[0] - ends[1]) / (2 * eps)
        assert relative_error(result.gradients[name], numeric) < 1e-6, name
    for m in range(2):
        ends = []
        for sign in (1, -1):
            beta = [b + sign * eps * (i == m) for i, b in enumerate(BETA)]
            ends.append(whole_objective(t, role, t.params, beta).item())
        numeric = (ends[0] - ends[1]) / (2 * eps)
        assert abs(result.beta_gradient[m].item() - numeric) < 1e-6 * abs(numeric)


@pytest.mark.parametrize("role", ["alignment", "task"])
@pytest.mark.parametrize("order", ["first", "exact"])
def test_beta_gradient_equals_autograd_through_the_inner_step(role, order):
    t = toy()
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, BETA, ALPHA, role=role, order=order
    )
    beta = torch.tensor(BETA, dtype=torch.float64, requires_grad=True)
    whole_objective(t, role, t.params, beta, create_graph=True).backward()
    assert relative_error(result.beta_gradient, beta.grad) < 1e-12


@pytest.mark.parametrize("role", ["alignment", "task"])
@pytest.mark.parametrize("smooth", [True, False])
def test_exact_equals_one_graph_autograd(role, smooth):
    t = toy(smooth=smooth)
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, BETA, ALPHA, role=role, order="exact"
    )
    names = minimising(t)
    value = whole_objective(t, role, t.params, BETA, create_graph=True)
    expected = torch.autograd.grad(value, [t.params[n] for n in names])
    for name, e in zip(names, expected):
        assert relative_error(result.gradients[name], e) < 1e-10, name


@pytest.mark.parametrize("role", ["alignment", "task"])
@pytest.mark.parametrize("order", ["first", "exact"])
def test_discriminators_descend_their_own_loss_unscaled(role, order):
    t = toy(lambdas=(0.7, 0.0))
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, BETA, ALPHA, role=role, order=order
    )
    at = t.params
    if role == "task":  # alignment is validated at theta'
        g = evaluate(Objective.of(t.task), t.params).gradients
        weight = t.groups.weight_of(BETA)
        at = {n: p - ALPHA * weight[n] * g[n] if n in weight else p for n, p in t.params.items()}
    for name, term in t.alignment(at).items():
        if not term.adversarial:
            continue
        own = [n for n in t.params if is_under(n, term.owner)]
        expected = torch.autograd.grad(term.loss, [t.params[n] for n in own], retain_graph=True)
        for n, e in zip(own, expected):
            assert relative_error(result.gradients[n], e) < 1e-12, (name, n)


def test_first_order_equals_a_two_layer_case_worked_by_hand():
    # task 0.5 (w2 w1 - 1)^2 at x = 1, y = 1; alignment 0.5 (w1 (2 - 1))^2, explicit, weight 1.
    w1 = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    w2 = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    params = {"w1": w1, "w2": w2}
    groups = StageGroups({"body": ["w1"]})
    result = coordinated_step(
        lambda p: {"task": 0.5 * (p["w2"] * p["w1"] - 1) ** 2},
        lambda p: {"gap": 0.5 * p["w1"] ** 2},
        params,
        groups,
        [0.5],
        0.4,
        role="alignment",
    )
    # g = w1 = 2; w1' = 2 - 0.4 * 0.5 * 2 = 1.6; residual 3 * 1.6 - 1 = 3.8
    # v = w2 * 3.8 = 11.4; d/dw2 = w1' * 3.8 = 6.08; d/dbeta = -0.4 * 2 * 11.4 = -9.12
    assert result.gradients["w1"].item() == pytest.approx(2 + 11.4, rel=1e-14)
    assert result.gradients["w2"].item() == pytest.approx(6.08, rel=1e-14)
    assert result.beta_gradient.item() == pytest.approx(-9.12, rel=1e-14)
    assert result.losses["task"].item() == pytest.approx(0.5 * 3.8**2, rel=1e-14)


@pytest.mark.parametrize("order", ["first", "exact"])
@pytest.mark.parametrize("role", ["alignment", "task"])
@pytest.mark.parametrize("alpha, beta", [(0.0, BETA), (ALPHA, (0.0, 0.0))])
def test_without_a_step_it_is_joint_training(order, role, alpha, beta):
    t = toy()
    result = coordinated_step(
        t.task, t.alignment, t.params, t.groups, beta, alpha, role=role, order=order
    )
    names = minimising(t)
    joint = sum(t.task(t.params).values()) + alignment_value(t.alignment(t.params))
    for name, e in zip(names, torch.autograd.grad(joint, [t.params[n] for n in names])):
        assert relative_error(result.gradients[name], e) < 1e-13, name


def test_each_role_gives_one_half_of_the_gradient_of_the_inner_product():
    """(exact at theta - joint) / -alpha -> grad <g_A, g_T>; first order gives H_val (beta g)."""
    t = toy()
    look, validate = values(t, "alignment")
    scope = [t.params[n] for n in t.groups.scope]
    g_a = torch.autograd.grad(look(t.params), scope, create_graph=True)
    g_t = torch.autograd.grad(validate(t.params), scope, create_graph=True)
    inner = sum((a * b).sum() for a, b in zip(g_a, g_t))
    whole = torch.autograd.grad(inner, scope, retain_graph=True)
    joint = [(a + b).detach() for a, b in zip(g_a, g_t)]
    alpha, halves = 1e-5, []
    for role in ("alignment", "task"):
        r = coordinated_step(t.task, t.alignment, t.params, t.groups, (1.0, 1.0), alpha, role=role)
        halves.append([(j - r.gradients[n]) / alpha for n, j in zip(t.groups.scope, joint)])
    for domain_half, task_half, w in zip(*halves, whole):
        assert relative_error(domain_half + task_half, w) < 1e-3
        assert relative_error(domain_half, w) > 1e-2  # neither half alone is the whole


def test_alternation_at_twice_alpha_matches_exact_at_alpha_to_second_order():
    t = toy()

    def gap(alpha):
        exact = coordinated_step(
            t.task, t.alignment, t.params, t.groups, BETA, alpha, order="exact"
        )
        roles = [
            coordinated_step(
                t.task, t.alignment, t.params, t.groups, BETA, 2 * alpha, role=role
            ).gradients
            for role in ("alignment", "task")
        ]
        mean = torch.cat([(roles[0][n] + roles[1][n]).flatten() / 2 for n in t.groups.scope])
        return relative_error(
            mean, torch.cat([exact.gradients[n].flatten() for n in t.groups.scope])
        )

    assert gap(1e-4) < 1e-6
    assert gap(1e-3) / gap(1e-4) == pytest.approx(100, rel=0.3)  # O(alpha^2)


def test_exact_mode_is_the_same_in_both_roles_to_first_order():
    t = toy()
    alpha = 1e-4
    grads = [
        coordinated_step(
            t.task, t.alignment, t.params, t.groups, BETA, alpha, role=role, order="exact"
        ).gradients
        for role in ("alignment", "task")
    ]
    for n in t.groups.scope:
        assert relative_error(grads[0][n], grads[1][n]) < alpha


def test_discriminators_are_left_out_of_the_second_order_when_the_task_looks_ahead_too():
    """The task may depend on a discriminator, as it does through context vectors."""
    t = toy()

    def task(p):
        return {
            "loss": sum(t.task(p).values()) + (p["critics.far.weight"] * p["stage2.0.bias"]).sum()
        }

    args = (task, t.alignment, t.params, t.groups, BETA, ALPHA)
    first, exact, through = (
        coordinated_step(*args, role="task", order=order, through_adversary=flag).gradients
        for order, flag in (("first", False), ("exact", False), ("exact", True))
    )
    name = "critics.far.weight"
    assert torch.equal(exact[name], first[name])
    assert not torch.equal(through[name], first[name])


def test_through_adversary_adds_the_task_loss_to_discriminators_and_only_then():
    t = toy()
    out = {
        flag: coordinated_step(
            t.task,
            t.alignment,
            t.params,
            t.groups,
            BETA,
            ALPHA,
            order="exact",
            through_adversary=flag,
        ).gradients
        for flag in (False, True)
    }
    value = whole_objective(t, "alignment", t.params, BETA, create_graph=True)
    inner = value - alignment_value(t.alignment(t.params))
    name = "critics.far.weight"
    (extra,) = torch.autograd.grad(inner, [t.params[name]])
    assert relative_error(out[True][name] - out[False][name], extra) < 1e-10
    assert torch.equal(out[True]["stage1.0.weight"], out[False]["stage1.0.weight"])
