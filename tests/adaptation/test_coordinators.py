"""Every coordinator in the training loop: the same contract, the same statistics, its own step."""

from __future__ import annotations

import pytest
import torch
from torch.autograd.function import once_differentiable

from metaalign_det.adaptation.registry import GRADIENT_SOURCES
from metaalign_det.coordination import WEIGHTINGS, DoubleBackwardError
from metaalign_det.errors import UserError
from tests.adaptation.harness import Harness, trained, views
from tests.coordination.toys import needs_torchjd
from tests.tiny import tiny_cfg

NAMES = sorted(set(GRADIENT_SOURCES) - {"joint"})
BN = ("MODEL.RESNETS.NORM", "BN", "MODEL.DA.GLOBAL.NORM", "BN")


def options(name, *opts):
    return ("ADAPTATION.COORDINATOR", name, *opts)


@pytest.mark.parametrize("name", NAMES)
def test_it_trains_otherwise_than_joint_training_and_stays_finite(name):
    needs_torchjd(name)
    coordinated = trained(*options(name, "METAALIGN.META_LR", 10.0)).state()
    joint = trained().state()
    # PCGrad and GradVac are joint training wherever the gradients do not conflict.
    same = all(torch.equal(coordinated[k], joint[k]) for k in joint)
    assert not same or name in ("pcgrad", "gradvac")
    assert all(torch.isfinite(v).all() for v in coordinated.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_tracked_is_what_joint_training_tracks(name):
    needs_torchjd(name)
    roles = ("alignment", "task") if name == "metaalign" else ("alignment",)
    for role in roles:
        opts = options(name, "METAALIGN.META_LR", 20.0, "METAALIGN.ROLE", role)
        a, b = trained(*BN, *opts, steps=1).model, trained(*BN, steps=1).model
        buffers = dict(b.named_buffers())
        assert any("running_mean" in k for k in buffers)
        for k, v in a.named_buffers():
            assert torch.equal(v, buffers[k]), (name, role, k)


@pytest.mark.parametrize("name", ["metaalign", "gradvac", "nash_mtl", "extragradient", "sdat"])
def test_a_resumed_run_equals_an_uninterrupted_one(name):
    opts = options(name, "METAALIGN.META_LR", 0.01, "EMA.ENABLED", True, "EMA.DECAY", 0.5)
    if name == "metaalign":
        opts = (*opts, "METAALIGN.ALPHA", "relative", "METAALIGN.RELATIVE_CHANGE_PERIOD", 1)
    batches = [views(i) for i in range(4)]
    whole = trained(*opts, steps=4, batches=batches)
    first = trained(*opts, steps=2, batches=batches[:2])
    second = Harness(tiny_cfg("MODEL.DA.GLOBAL.NORM", "", *opts), batches[2:])
    second.model.load_state_dict(first.model.state_dict())
    second._trainer.optimizer.load_state_dict(first._trainer.optimizer.state_dict())
    second._trainer.load_state_dict(first._trainer.state_dict())
    second.source.learning.average.load_state_dict(first.source.learning.average.state_dict())
    second.train(2, 4)
    for (k, a), b in zip(whole.state().items(), second.state().values()):
        assert torch.equal(a, b), k
    averages = [h.source.learning.average.model.state_dict() for h in (whole, second)]
    assert all(torch.equal(v, averages[1][k]) for k, v in averages[0].items())


def test_cagrads_c_is_checked():
    pytest.importorskip("torchjd")
    with pytest.raises(UserError, match=r"'cagrad': c must be in \[0, 1\), got 1.5"):
        trained(*options("cagrad", "ADAPTATION.CAGRAD_C", 1.5), steps=1)


def test_the_papers_name_of_a_role_is_an_alias():
    opts = options("metaalign", "METAALIGN.META_LR", 5.0)
    new = trained(*opts, "METAALIGN.ROLE", "alignment", steps=2).state()
    old = trained(*opts, "METAALIGN.ROLE", "domain", steps=2).state()
    assert all(torch.equal(v, old[k]) for k, v in new.items())


def test_opposite_and_random_directions_and_both_sides_are_steps_of_their_own():
    states = {
        direction: trained(
            *options("metaalign", "METAALIGN.META_LR", 20.0, "METAALIGN.ROLE", "alignment"),
            "METAALIGN.DIRECTION",
            direction,
        ).state()["backbone.res2.0.conv1.weight"]
        for direction in ("gradient", "opposite", "random", "both")
    }
    flat = list(states.values())
    for i, a in enumerate(flat):
        assert all(not torch.equal(a, b) for b in flat[i + 1 :])


def test_a_relative_alpha_comes_to_the_change_that_is_asked_for():
    opts = options(
        "metaalign", "METAALIGN.ALPHA", "relative", "METAALIGN.RELATIVE_CHANGE_PERIOD", 1,
        "METAALIGN.META_LR", 1e-3, "METAALIGN.RELATIVE_CHANGE", 0.2, "METAALIGN.ROLE", "alignment",
        "SOLVER.BASE_LR", 1e-5,
    )  # fmt: skip
    h = trained(*opts, steps=16, batches=[views(0)] * 16)
    change = h.storage.history("lookahead/relative_change/alignment").latest()
    assert 0.1 < change < 0.4


def test_a_relative_alpha_does_not_follow_what_was_measured_without_alignment():
    opts = options(
        "metaalign", "METAALIGN.ALPHA", "relative", "METAALIGN.RELATIVE_CHANGE_PERIOD", 1,
        "METAALIGN.ROLE", "alignment", "MODEL.DA.LOCAL.LAMBDA", 0.0, "MODEL.DA.GLOBAL.LAMBDA", 0.0,
    )  # fmt: skip
    source = trained(*opts, "METAALIGN.META_LR", 0.1, steps=3).source
    assert source.alpha_at(3, 1.0) == 0.1


@pytest.mark.parametrize("role", ["alignment", "alternate"])
def test_a_relative_alpha_is_followed_during_its_warm_up_as_after_it(role):
    opts = options(
        "metaalign", "METAALIGN.ALPHA", "relative", "METAALIGN.RELATIVE_CHANGE_PERIOD", 2,
        "METAALIGN.META_LR", 0.05, "METAALIGN.RELATIVE_CHANGE", 0.2, "METAALIGN.ROLE", role,
        "SOLVER.BASE_LR", 1e-5,
    )  # fmt: skip
    batches = [views(0)] * 12
    plain = trained(*opts, steps=12, batches=batches).source
    warm = trained(*opts, "METAALIGN.WARMUP_ITERS", 8, steps=12, batches=batches).source
    assert warm.alpha_at(0, 1.0) == 0
    for it in (12, 13):  # each role
        assert warm.alpha_at(it, 1.0) == pytest.approx(plain.alpha_at(it, 1.0), rel=0.3)
        half = warm.alpha_at(it, 1.0) * (it % 2 + 4) / 8
        assert warm.alpha_at(it % 2 + 4, 1.0) == pytest.approx(half)


def test_roles_and_the_warm_up_of_alpha_begin_where_burn_in_ends():
    opts = options(
        "metaalign", "METAALIGN.ROLE", "alternate", "METAALIGN.FIRST_ROLE", "task",
        "METAALIGN.ALPHA", "constant", "METAALIGN.META_LR", 0.8, "METAALIGN.WARMUP_ITERS", 4,
        "METAALIGN.START_ITER", 1, "ADAPTATION.BURN_IN", 4,
    )  # fmt: skip
    source = Harness(tiny_cfg(*opts), []).source
    assert [source.role_at(i) for i in (4, 5, 6)] == ["task", "alignment", "task"]
    alphas = [source.alpha_at(i, 1.0) for i in (4, 6, 8, 9)]
    assert alphas == pytest.approx([0.0, 0.4, 0.8, 0.8])


# ---- before training ----------------------------------------------------------------------------

EXACT = options("metaalign", "METAALIGN.ORDER", "exact", "METAALIGN.ROLE", "alignment")


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sigmoid()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        s = ctx.saved_tensors[0].sigmoid()
        return grad * s * (1 - s)


def test_burn_in_does_not_put_off_the_check_for_second_derivatives():
    h = Harness(tiny_cfg(*EXACT, "ADAPTATION.BURN_IN", 3), [views(0)])
    h.model.backbone.res4[0].register_forward_hook(lambda m, x, y: _Once.apply(y))
    before = h.state()
    with pytest.raises(DoubleBackwardError, match="_Once"):
        h.train(0, 1)
    assert h.iter == 0 and all(torch.equal(v, before[k]) for k, v in h.state().items())


@pytest.mark.parametrize("burn_in", [0, 3])
def test_the_check_for_second_derivatives_leaves_no_trace(burn_in, monkeypatch):
    opts = (*BN, *EXACT, "ADAPTATION.BURN_IN", burn_in, "EMA.ENABLED", True)
    with_check = trained(*opts, steps=2)
    monkeypatch.setattr(with_check.source.__class__, "before_train", lambda *a: None)
    without = trained(*opts, steps=2)
    for (k, a), b in zip(with_check.state().items(), without.state().values()):
        assert torch.equal(a, b), k
    averages = [h.source.learning.average.model.state_dict() for h in (with_check, without)]
    assert all(torch.equal(v, averages[1][k]) for k, v in averages[0].items())


def test_the_check_for_second_derivatives_takes_as_many_images_as_a_pass_of_training():
    h = Harness(tiny_cfg(*EXACT, "SOLVER.ACCUMULATION_STEPS", 2), [views(0, 4)])
    seen = set()
    h.model.backbone.register_forward_hook(lambda m, x, y: seen.add(len(x[0])))
    h.train(0, 1)
    assert seen == {2}


# ---- burn-in and empty batches ------------------------------------------------------------------


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_under_burn_in_every_weighting_is_joint_training(name):
    needs_torchjd(name)
    opts = ("ADAPTATION.BURN_IN", 2)
    weighed, joint = trained(*options(name, *opts), steps=2), trained(*opts, steps=2)
    for (k, a), b in zip(weighed.state().items(), joint.state().values()):
        torch.testing.assert_close(a, b, msg=k)


def test_burn_in_trains_the_source_alone():
    h = trained("ADAPTATION.BURN_IN", 2, steps=3)
    assert len(h.storage.history("loss_cls").values()) == 3
    assert len(h.storage.history("loss_da_local").values()) == 1


def test_an_empty_target_is_no_alignment_in_any_coordinator():
    batches = [{**views(0), "target": []}]
    for name in ("joint", "metaalign", "pcgrad"):
        h = trained(*options(name), steps=1, batches=batches)
        assert "loss_da_local" not in h.storage.histories(), name


@pytest.mark.parametrize(
    "opts, message",
    [
        (("ADAPTATION.COORDINATOR", "pcgard"), "ADAPTATION.COORDINATOR: 'pcgard' is none of joint"),
        (("ADAPTATION.COORDINATOR", "sdat", "METAALIGN.ENABLED", True), "two coordinators"),
        (("ADAPTATION.COORDINATOR", "sdat", "ADAPTATION.SDAT_RHO", -1.0), "ADAPTATION.SDAT_RHO"),
        (("ADAPTATION.COORDINATOR", "gradvac", "ADAPTATION.GRADVAC_BETA", 0.0), "'gradvac': beta"),
        (("METAALIGN.ENABLED", True, "METAALIGN.DIRECTION", "up"), "METAALIGN.DIRECTION 'up'"),
        (("METAALIGN.ENABLED", True, "METAALIGN.RELATIVE_CHANGE", 0.0), "RELATIVE_CHANGE must be"),
        (
            ("METAALIGN.ENABLED", True, "METAALIGN.ORDER", "exact", "METAALIGN.ALPHA", "length"),
            "METAALIGN: order 'exact'",
        ),
        (
            ("ADAPTATION.COORDINATOR", "pcgrad", "MODEL.BACKBONE.FREEZE_AT", 5),
            "without a coordinator .*ADAPTATION.COORDINATOR 'joint'",
        ),
        (
            ("METAALIGN.ENABLED", True, "MODEL.BACKBONE.FREEZE_AT", 5, "METAALIGN.SCOPE", "all"),
            "MODEL.BACKBONE.FREEZE_AT",
        ),
        (("ADAPTATION.BURN_IN", -1), "ADAPTATION.BURN_IN must be >= 0"),
    ],
)
def test_settings_that_cannot_be_are_named(opts, message):
    with pytest.raises(UserError, match=message):
        Harness(tiny_cfg(*opts), [])


def test_gradvacs_running_means_are_restored_also_from_an_earlier_versions_single_one():
    def built(*opts):
        return Harness(tiny_cfg(*options("gradvac", *opts)), []).source

    per_stage = ("ADAPTATION.PER_STAGE", True)
    source = built(*per_stage)
    for mean, weighting in enumerate(source.projection.weightings.values()):
        weighting.mean = float(mean)
    other = built(*per_stage)
    other.load_state_dict(source.state_dict())
    assert other.state_dict() == source.state_dict()
    for opts in (per_stage, ()):
        old = built(*opts)
        old.load_state_dict({"weighting": {"mean": 0.25}})
        assert {w.mean for w in old.projection.weightings.values()} == {0.25}
    with pytest.raises(UserError, match="ADAPTATION.PER_STAGE"):
        built().load_state_dict(source.state_dict())
