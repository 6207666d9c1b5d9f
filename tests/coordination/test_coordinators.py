"""Coordinators beside the lookahead, and the lookahead's directions, against hand calculation."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.coordination import (
    Extragradient,
    Lookahead,
    Projection,
    SmoothTask,
    StageGroups,
    evaluate,
)
from metaalign_det.coordination.objective import Objective
from metaalign_det.coordination.weightings import WEIGHTINGS, GradVac, PCGrad
from metaalign_det.loss_term import LossTerm
from tests.coordination.toys import coordinated_step, needs_torchjd, relative_error, toy


def quadratic():
    """theta in R^2: task (t_0 - 1)^2 + t_1^2 / 2, alignment t_0^2 + 2 t_0 t_1."""
    params = {
        "theta": torch.tensor([2.0, -3.0], dtype=torch.float64, requires_grad=True),
        "head": torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
    }

    def task(p):
        t = p["theta"]
        return {"task": (t[0] - 1) ** 2 + 0.5 * t[1] ** 2 + p["head"] ** 2}

    def alignment(p):
        t = p["theta"]
        return {"alignment": t[0] ** 2 + 2 * t[0] * t[1]}

    return params, task, alignment, StageGroups({"one": ["theta"]})


# At theta = (2, -3): g = (2 t0 + 2 t1, 2 t0) = (-2, 4), v = (2 (t0 - 1), t1) = (2, -3).


def test_projection_weighs_the_shared_parameters_and_sums_the_others():
    params, task, alignment, groups = quadratic()
    result = Projection(groups, PCGrad())(task, alignment, params, telemetry=True)
    g, v = torch.tensor([-2.0, 4.0]).double(), torch.tensor([2.0, -3.0]).double()
    inner = torch.dot(g, v)  # -16
    expected = (g - inner * v / 13) + (v - inner * g / 20)
    torch.testing.assert_close(result.gradients["theta"], expected)
    assert result.gradients["head"].item() == 1.0
    assert result.telemetry["projection/cosine/all"] == pytest.approx(-16 / (20 * 13) ** 0.5)


def test_projection_per_stage_weighs_each_by_itself():
    t = toy()
    whole = Projection(t.groups, PCGrad())(t.task, t.alignment, t.params)
    parts = Projection(t.groups, PCGrad(), per_stage=True)(t.task, t.alignment, t.params)
    alone = {
        name: Projection(StageGroups({name: members}), PCGrad())(t.task, t.alignment, t.params)
        for name, members in t.groups.stages.items()
    }
    for name, members in t.groups.stages.items():
        for n in members:
            torch.testing.assert_close(parts.gradients[n], alone[name].gradients[n])
    assert whole.losses.keys() == parts.losses.keys()


@pytest.mark.parametrize("name", WEIGHTINGS)
@pytest.mark.parametrize("missing", ["absent", "zero"])
def test_where_one_gradient_is_missing_the_other_is_descended_as_it_is(name, missing):
    needs_torchjd(name)
    params, task, alignment, groups = quadratic()
    v, g = torch.tensor([2.0, -3.0]).double(), torch.tensor([-2.0, 4.0]).double()

    def nothing(p):
        return {} if missing == "absent" else {"none": 0.0 * p["theta"].sum()}

    projection = Projection(groups, WEIGHTINGS[name]())
    torch.testing.assert_close(projection(task, nothing, params).gradients["theta"], v)
    torch.testing.assert_close(projection(nothing, alignment, params).gradients["theta"], g)


def test_a_stage_that_alignment_does_not_reach_follows_the_task_alone():
    t = toy()

    def alignment(p):
        return {"near": p["stage1.0.weight"].square().sum()}

    result = Projection(t.groups, WEIGHTINGS["nash_mtl"](), per_stage=True)(
        t.task, alignment, t.params
    )
    v = evaluate(Objective.of(t.task), t.params).gradients
    for n in t.groups.stages["two"]:
        torch.testing.assert_close(result.gradients[n], v[n])


def test_gradvac_has_a_running_mean_for_each_stage():
    t = toy()
    both = Projection(t.groups, GradVac(beta=0.5), per_stage=True)
    both(t.task, t.alignment, t.params)
    for name, members in t.groups.stages.items():
        alone = Projection(StageGroups({name: members}), GradVac(beta=0.5))
        alone(t.task, t.alignment, t.params)
        assert both.state_dict()[name] == alone.state_dict()["all"], name
    means = [s["mean"] for s in both.state_dict().values()]
    assert means[0] != means[1]


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_gradient_that_is_not_finite_is_left_to_the_caller(name):
    if name in ("mgda", "cagrad", "upgrad"):
        pytest.importorskip("torchjd")
    t = toy()

    def broken(params):  # a finite loss: the root's derivative at 0 is not
        return {"broken": sum((params[n] * 0).sum().square().sqrt() for n in t.groups.scope)}

    projection = Projection(t.groups, WEIGHTINGS[name]())
    result = projection(broken, t.alignment, t.params)
    assert all(result.gradients[n].isnan().all() for n in t.groups.scope)
    assert all(w.state_dict() == WEIGHTINGS[name]().state_dict() for w in
               projection.weightings.values())  # fmt: skip


def test_extragradient_averages_the_field_over_two_points():
    params, task, alignment, _ = quadratic()
    result = Extragradient()(task, alignment, params, eta=0.1)
    # F(theta) = (0, 1), theta' = (2, -3.1), F(theta') = (2 + 4 - 6.2, -3.1 + 4) = (-0.2, 0.9)
    expected = torch.tensor([-0.1, 0.95], dtype=torch.float64)
    torch.testing.assert_close(result.gradients["theta"], expected)
    assert result.gradients["head"].item() == pytest.approx(0.5 * (1.0 + 2 * 0.4))


def test_a_step_of_no_length_is_joint_training():
    t = toy()
    joint = {}
    for o in (t.task, t.alignment):
        for n, x in evaluate(Objective.of(o), t.params).gradients.items():
            if x is not None:
                joint[n] = joint[n] + x if n in joint else x
    results = {
        "extragradient": Extragradient()(t.task, t.alignment, t.params, eta=0.0),
        "sdat": SmoothTask(0.0)(t.task, t.alignment, t.params),
    }
    for direction in ("opposite", "random", "random_sign", "both"):
        step = Lookahead(t.groups, direction=direction)
        results[direction] = step(t.task, t.alignment, t.params, (1.0, 1.0), 0.0)
    for name, result in results.items():
        for n, x in joint.items():
            assert relative_error(result.gradients[n], x) < 1e-12, (name, n)


def test_sdat_takes_the_tasks_gradient_uphill_and_alignments_where_it_is():
    params, task, alignment, _ = quadratic()
    result = SmoothTask(rho=0.14**0.5)(task, alignment, params)
    # |grad L| over theta and head = sqrt(4 + 9 + 1); a step of rho / that = 0.1 along (2, -3, 1)
    expected = torch.tensor([2 * 1.2 - 2.0, -3.3 + 4.0], dtype=torch.float64)
    torch.testing.assert_close(result.gradients["theta"], expected)
    assert result.gradients["head"].item() == pytest.approx(1.2)


def test_the_opposite_direction_looks_the_other_way():
    t = toy()
    options = {"beta": (0.8, 1.3), "alpha": 0.2}
    there = coordinated_step(t.task, t.alignment, t.params, t.groups, **options)
    back = coordinated_step(
        t.task, t.alignment, t.params, t.groups, direction="opposite", **options
    )
    both = coordinated_step(t.task, t.alignment, t.params, t.groups, direction="both", **options)
    for n in t.groups.scope:
        mean = (there.gradients[n] + back.gradients[n]) / 2
        assert relative_error(both.gradients[n], mean) < 1e-12
    mean = (there.beta_gradient + back.beta_gradient) / 2
    torch.testing.assert_close(both.beta_gradient, mean)


def test_random_directions_have_the_gradients_length_and_follow_the_generator():
    params, task, alignment, groups = quadratic()

    def step(seed):
        generator = torch.Generator().manual_seed(seed)
        look = Lookahead(groups, direction="random")
        return look(task, alignment, params, (1.0,), 0.1, generator=generator).gradients["theta"]

    assert torch.equal(step(1), step(1)) and not torch.equal(step(1), step(2))
    # v(theta') - v = (-2 a d_0, -a d_1), g + v = (0, 1): |d| can be read off.
    d = (torch.tensor([0.0, 1.0]) - step(1)) / torch.tensor([0.2, 0.1])
    assert d.norm().item() == pytest.approx(20**0.5, rel=1e-5)


def test_a_normalized_step_has_the_length_that_is_asked_for():
    params, task, alignment, groups = quadratic()
    long = Lookahead(groups, normalized=True)(task, alignment, params, (1.0,), 0.5)
    plain = Lookahead(groups)(task, alignment, params, (1.0,), 0.5 / 20**0.5)
    torch.testing.assert_close(long.gradients["theta"], plain.gradients["theta"])
    torch.testing.assert_close(long.beta_gradient, plain.beta_gradient)


def test_exact_goes_along_the_gradient_only():
    groups = StageGroups({"one": ["theta"]})
    with pytest.raises(ValueError, match="order 'exact'"):
        Lookahead(groups, order="exact", direction="both")


# ---- losses that reach a discriminator's own parameters -----------------------------------------


def test_an_explicit_loss_keeps_its_sign_in_a_discriminators_parameters():
    phi = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)

    def objective(p):
        adversarial = (p["theta"] * p["phi"]).sum()
        return {
            "domain": LossTerm(adversarial, 0.5, owner="phi"),
            "penalty": 0.1 * (p["phi"] ** 2).sum(),
        }

    for create_graph in (False, True):
        found = evaluate(
            Objective.of(objective), {"phi": phi, "theta": theta}, create_graph=create_graph
        ).gradients
        # dL/dphi = theta, unscaled, and the penalty's 0.2 phi with its own sign
        torch.testing.assert_close(found["phi"], (theta + 0.2 * phi).detach())
        torch.testing.assert_close(found["theta"], (-0.5 * phi).detach())


def test_an_owner_without_parameters_is_an_error():
    params, task, _, groups = quadratic()
    wrong = {"d": LossTerm(params["theta"].sum(), 1.0, owner="critik")}
    with pytest.raises(ValueError, match="'critik'.*no parameter"):
        coordinated_step(task, lambda p: wrong, params, groups, (1.0,), 0.1)


def test_a_discriminator_of_weight_zero_gets_its_second_order_term():
    """Scope all, exact, through the adversary: phi's own inner step has a derivative as well."""
    theta = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    phi = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    params, alpha = {"theta": theta, "phi": phi}, 0.1

    def task(p):  # sees the discriminator's features, as context vectors do
        return {"task": 0.5 * p["theta"] ** 2 * p["phi"] ** 2}

    def alignment(p):
        return {"d": LossTerm(0.5 * p["phi"] ** 4, 0.0, owner="phi")}

    groups = StageGroups({"one": ["theta"]}, rest=["phi"])
    result = coordinated_step(
        task, alignment, params, groups, (1.0,), alpha, order="exact", through_adversary=True
    )
    moved = 3.0 - alpha * 2 * 27.0  # phi' = phi - alpha dL/dphi
    v = 4.0 * moved  # dtask/dphi'
    expected = 2 * 27.0 + v - alpha * 6 * 9.0 * v
    assert result.gradients["phi"].item() == pytest.approx(expected)
