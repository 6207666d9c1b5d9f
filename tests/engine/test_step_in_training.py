"""The step inside the training loop: what the hook changes, and what it must leave alone."""

from __future__ import annotations

import pytest
import torch
from detectron2.layers import ROIAlign
from detectron2.utils.events import EventStorage

from metaalign_det.adaptation.joint import JointGradients
from metaalign_det.coordination import DoubleBackwardError, NonFiniteLossError
from metaalign_det.coordination.ops.roi_align import TwiceDifferentiableROIAlign
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from metaalign_det.errors import UserError
from tests.coordination.toys import relative_error
from tests.engine.step_harness import ON, Harness, assert_same, state, trained
from tests.tiny import batch, tiny_cfg, tiny_model

pytestmark = pytest.mark.usefixtures("double_proposals")


@pytest.mark.parametrize("role", ["alignment", "task", "alternate"])
@pytest.mark.parametrize("order", ["first", "exact"])
def test_alpha_zero_is_joint_training(role, order):
    opts = ("METAALIGN.META_LR", 0.0, "METAALIGN.ROLE", role, "METAALIGN.ORDER", order, *ON)
    plain = trained(hook=False, double=True)
    ahead = trained(*opts, double=True)
    assert_same(state(ahead), state(plain), 1e-10)
    for name in ("loss_cls", "loss_rpn_cls", "loss_da_local", "loss_da_global"):
        a, b = (h.storage.history(name).values() for h in (ahead, plain))
        assert [x for x, _ in a] == pytest.approx([x for x, _ in b], rel=1e-10)


def test_a_positive_alpha_changes_the_weights():
    assert (
        relative_error(
            state(trained("METAALIGN.META_LR", 1.0))["backbone.res2.0.conv1.weight"],
            state(trained(hook=False))["backbone.res2.0.conv1.weight"],
        )
        > 1e-9
    )


def test_before_its_start_iteration_the_hook_is_not_there_bit_for_bit():
    assert_same(state(trained("METAALIGN.START_ITER", 50)), state(trained(hook=False)))


@pytest.mark.parametrize("role", ["alignment", "task", "alternate"])
@pytest.mark.parametrize("order", ["first", "exact"])
@pytest.mark.parametrize("hvp", ["keep_graph", "recompute"])
def test_batch_statistics_are_updated_as_in_plain_training(role, order, hvp):
    bn = ("MODEL.RESNETS.NORM", "BN", "MODEL.DA.GLOBAL.NORM", "BN")
    extra = ("METAALIGN.RELATIVE_CHANGE_PERIOD", 1, "METAALIGN.HVP", hvp)
    plain = trained(*bn, hook=False, steps=1)
    # However far the step looks: what is tracked is what joint training tracks at theta.
    opts = ("METAALIGN.META_LR", 20.0, "METAALIGN.ROLE", role, "METAALIGN.ORDER", order)
    ahead = trained(*bn, *opts, *extra, steps=1)
    buffers = {k for k, _ in plain.model.named_buffers()}
    assert any("running_mean" in k for k in buffers)
    a, b = state(ahead), state(plain)
    assert_same({k: a[k] for k in buffers if k in a}, {k: b[k] for k in buffers if k in b})


def test_the_global_generators_are_left_alone_and_dropout_does_not_depend_on_the_order():
    torch.manual_seed(9)
    expected = torch.rand(3)
    for opts in ((), ("METAALIGN.ORDER", "exact", "METAALIGN.HVP", "recompute")):
        cfg = tiny_cfg(*opts)
        h = Harness(cfg, [batch()], hook=bool(opts))
        torch.manual_seed(9)
        h.train(0, 1)
        assert torch.equal(torch.rand(3), expected)


def test_every_quantity_is_recorded_once_a_step():
    extra = ("METAALIGN.RELATIVE_CHANGE_PERIOD", 1, "METAALIGN.HVP", "recompute", *ON)
    h = trained("METAALIGN.ORDER", "exact", *extra, steps=2)
    plain = trained(hook=False, steps=2)
    for name, history in h.storage.histories().items():
        of_one_role = "/alignment" in name or "/task" in name
        assert len(history.values()) == (1 if of_one_role else 2), name
    extra_names = set(h.storage.histories()) - set(plain.storage.histories())
    assert extra_names and all(n.startswith("lookahead/") for n in extra_names)
    assert "lookahead/beta/res3" in extra_names
    for quantity in ("cosine", "inner", "step_ratio"):
        for role in ("alignment", "task"):
            assert f"lookahead/{quantity}/{role}/res3" in extra_names


@pytest.mark.parametrize("order", ["first", "exact"])
def test_accumulated_micro_batches_equal_the_big_batch(order):
    sampling = (
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE", 100000, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 512,
        "MODEL.RPN.POSITIVE_FRACTION", 1.0, "MODEL.RPN.NMS_THRESH", 1.0,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0, "MODEL.DA.GLOBAL.DROPOUT", 0.0,
        "METAALIGN.ORDER", order, "METAALIGN.META_LR", 5.0,
    )  # fmt: skip
    big = trained(*sampling, double=True, n=4)
    small = trained(*sampling, "SOLVER.ACCUMULATION_STEPS", 2, double=True, n=4)
    assert_same(state(small), state(big), 1e-9)


def test_plain_accumulation_equals_the_big_batch_too():
    sampling = (
        "MODEL.RPN.BATCH_SIZE_PER_IMAGE", 100000, "MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE", 512,
        "MODEL.RPN.POSITIVE_FRACTION", 1.0, "MODEL.RPN.NMS_THRESH", 1.0,
        "MODEL.ROI_HEADS.POSITIVE_FRACTION", 1.0, "MODEL.DA.GLOBAL.DROPOUT", 0.0,
    )  # fmt: skip
    big = trained(*sampling, hook=False, double=True, n=4)
    small = trained(*sampling, "SOLVER.ACCUMULATION_STEPS", 2, hook=False, double=True, n=4)
    assert_same(state(small), state(big), 1e-9)


def test_exact_mode_over_an_operator_without_second_derivative_stops_before_training():
    cfg = tiny_cfg("METAALIGN.ORDER", "exact", discriminators=("INSTANCE",))
    h = Harness(cfg, [batch()], hook=True)
    poolers = h.model.roi_heads.box_pooler.level_poolers
    for i, p in enumerate(poolers):
        assert isinstance(p, TwiceDifferentiableROIAlign)
        poolers[i] = ROIAlign(p.output_size, p.spatial_scale, p.sampling_ratio, p.aligned)
    before = state(h)
    with pytest.raises(DoubleBackwardError, match=r"(?i)roi_?align"):
        h.train(0, 1)
    assert_same(state(h), before)


def test_a_loss_that_is_not_finite_stops_training_with_its_name_and_iteration():
    for hook in (True, False):
        cfg = tiny_cfg()
        batches = [batch(seed=0), batch(seed=1)]
        batches[1]["source"][0]["image"][:] = float("nan")
        h = Harness(cfg, batches, hook=hook)
        after_first = None

        def remember(h=h):
            nonlocal after_first
            after_first = after_first or state(h)

        h.after_step = remember
        with pytest.raises(NonFiniteLossError, match="at iteration 1: .*checkpoint"):
            h.train(0, 2)
        assert_same(state(h), after_first)


def test_beta_moves_when_learned_and_its_state_is_restored():
    opts = ("METAALIGN.META_LR", 50.0, "METAALIGN.BETA.LR", 1.0, "METAALIGN.BETA.WEIGHT", 0.0)
    h = trained(*opts)
    beta = h.source.weights.values()
    assert beta != [1.0, 1.0, 1.0]
    other = Harness(tiny_cfg(*opts), [], hook=True)
    other.source.load_state_dict(h.source.state_dict())
    assert other.source.weights.values() == beta


def test_roles_alternate_from_the_start_iteration_and_alpha_follows_its_schedule():
    source = Harness(
        tiny_cfg("METAALIGN.START_ITER", 3, "METAALIGN.WARMUP_ITERS", 4, "METAALIGN.META_LR", 2.0),
        [], hook=True,
    ).source  # fmt: skip
    assert [source.role_at(i) for i in (3, 4, 5)] == ["alignment", "task", "alignment"]
    alphas = [source.alpha_at(i, 0.5) for i in (3, 5, 7, 9)]
    assert alphas == pytest.approx([0.0, 0.005, 0.01, 0.01])  # META_LR * BASE_LR * schedule


@pytest.mark.parametrize(
    "opts, message",
    [
        (("METAALIGN.ORDER", "second"), "METAALIGN.ORDER 'second'; choose one of first, exact"),
        (("METAALIGN.ROLE", "both"), "METAALIGN.ROLE 'both'; choose one of alignment, task, alter"),
        (("METAALIGN.HVP", "jvp"), "METAALIGN.HVP 'jvp'; choose one of keep_graph, recompute"),
        (("METAALIGN.SCOPE", "heads"), "METAALIGN.SCOPE 'heads'"),
        (("METAALIGN.STAGES", ("x=backbone.layer4",)), "METAALIGN.STAGES: .*backbone.layer4"),
        (("METAALIGN.STAGES", ("a=backbone.res2", "b=backbone.res2")), "overlap"),
        (("MODEL.BACKBONE.FREEZE_AT", 2, "METAALIGN.STAGES", ("a=backbone.stem",)), "no trainable"),
        (("METAALIGN.META_LR", -1.0), "METAALIGN.META_LR must be >= 0"),
    ],
)
def test_settings_that_cannot_be_are_named(opts, message):
    with pytest.raises(UserError, match=message):
        Harness(tiny_cfg(*opts), [], hook=True)


def test_nothing_to_align_is_an_error_not_a_silent_no_op():
    with pytest.raises(UserError, match="METAALIGN.ENABLED.*nothing to align"):
        Harness(tiny_cfg(discriminators=()), [], hook=True)


def test_frozen_stages_are_left_out_of_the_groups():
    source = Harness(tiny_cfg("MODEL.BACKBONE.FREEZE_AT", 2), [], hook=True).source
    assert source.groups.names == ("res3", "res4")


def test_relative_change_is_small_for_a_small_step_because_samples_are_kept():
    opts = ("METAALIGN.RELATIVE_CHANGE_PERIOD", 1, "METAALIGN.ROLE", "alignment")
    changes = []
    for meta_lr in (1e-6, 1.0):
        h = trained("METAALIGN.META_LR", meta_lr, *opts, double=True, steps=1)
        changes.append(h.storage.history("lookahead/relative_change/alignment").latest())
    assert changes[0] < 1e-5 < changes[1]


def test_telemetry_sees_both_roles_at_any_period():
    source = Harness(tiny_cfg(), [], hook=True).source
    due = [i for i in range(60) if source._is_due(i, 20)]
    assert {source.role_at(i) for i in due} == {"alignment", "task"} and len(due) == 6
    assert not any(source._is_due(i, 0) for i in range(60))


@pytest.mark.parametrize("hook", [True, False])
def test_a_gradient_that_is_not_finite_never_reaches_the_weights(hook):
    h = Harness(tiny_cfg("MODEL.DA.GLOBAL.NORM", ""), [batch()], hook=hook)
    before = state(h)
    h.model.roi_heads.box_predictor.cls_score.weight.register_hook(lambda g: g * float("nan"))
    with pytest.raises(NonFiniteLossError, match="gradient of roi_heads.box_predictor.cls_score"):
        h.train(0, 1)
    assert_same(state(h), before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.pop("backbone.stem.conv1.weight"), r"1 missing .*stem.*, 0 unknown \[\]"),
        (lambda g: g.update(conv=None), r"0 missing \[\], 1 unknown \['conv'\]"),
    ],
)
def test_a_coordinator_that_forgets_a_parameter_is_told(change, message):
    class Odd(JointGradients):
        def __call__(self, step, batches):
            made = super().__call__(step, batches)
            change(made.by_name)
            return made

    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "")
    model = tiny_model(cfg)
    loop = AdaptationLoop(model, [batch()], build_optimizer(cfg, model), seed=0, source=Odd())
    with pytest.raises(ValueError, match=rf"^Odd must return .*{message}"):
        loop.train(0, 1)


def test_batch_statistics_of_heads_are_tracked_as_in_plain_training():
    norm = ("MODEL.ROI_BOX_HEAD.NORM", "BN", "MODEL.ROI_BOX_HEAD.NUM_CONV", 1,
            "MODEL.ROI_BOX_HEAD.CONV_DIM", 8)  # fmt: skip
    for role in ("alignment", "task"):
        opts = ("METAALIGN.META_LR", 0.0, "METAALIGN.ROLE", role)
        a, b = state(trained(*norm, *opts, steps=2)), state(trained(*norm, hook=False, steps=2))
        names = [k for k in b if "roi_heads" in k and "running_" in k]
        assert names and all(b[k].std() > 0 for k in names)
        assert_same({k: a[k] for k in names}, {k: b[k] for k in names}, 1e-5)


def test_a_storage_is_not_left_open():
    from detectron2.utils.events import has_event_storage

    trained(steps=1)
    assert not has_event_storage()
    with EventStorage():
        pass
