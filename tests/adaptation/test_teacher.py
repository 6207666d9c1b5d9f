"""Teachers: averages of weights, labels and soft targets for the student's strong views."""

from __future__ import annotations

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from torch import nn

from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.adaptation.teacher import WeightAverage
from metaalign_det.errors import UserError
from tests.adaptation.harness import Harness, strong, trained, views
from tests.modeling.test_da_classifier import config as classifier_config
from tests.modeling.test_da_classifier import images as pictures
from tests.tiny import batch, tiny_cfg, tiny_model

TEACHER = (
    "EMA.ENABLED", True, "EMA.DECAY", 0.9, "TEACHER.ENABLED", True, "INPUT.VIEWS.TARGET", "both",
    "DATASETS.TARGET", ("some",),
)  # fmt: skip
SOFT = (*TEACHER, "TEACHER.METHOD", "soft", "TEACHER.START_ITER", 9)
EAGER = (*TEACHER, "TEACHER.THRESHOLD", 0.0, "MODEL.ROI_HEADS.SCORE_THRESH_TEST", 0.0)


def test_an_average_is_a_copy_at_first_and_then_follows_by_its_decay():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, decay=0.75)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    average.update(model, 0)
    assert torch.equal(average.model[0].weight, model[0].weight)
    with torch.no_grad():
        model[0].weight.fill_(5.0)
        model[1].running_mean.fill_(4.0)
        model[1].num_batches_tracked.fill_(7)
    average.update(model, 1)
    assert average.model[0].weight.eq(2.0).all()  # 0.75 * 1 + 0.25 * 5
    assert average.model[1].running_mean.eq(1.0).all()
    assert average.model[1].num_batches_tracked == 7


def test_weights_under_two_names_move_once():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    average = WeightAverage(model, decay=0.75)
    with torch.no_grad():
        model[0].weight.fill_(1.0)
        average.update(model, 0)
        model[0].weight.fill_(5.0)
    average.update(model, 1)
    assert average.model[1].weight is average.model[0].weight
    assert average.model[0].weight.eq(2.0).all()  # 0.75 * 1 + 0.25 * 5


def test_an_average_stays_a_copy_up_to_its_start():
    model = nn.Linear(1, 1)
    average = WeightAverage(model, decay=0.9, start_iter=3)
    for iteration in range(3):
        with torch.no_grad():
            model.weight.fill_(float(iteration))
        average.update(model, iteration)
        assert torch.equal(average.model.weight, model.weight)


@pytest.mark.parametrize("method", ["hard", "soft"])
@pytest.mark.parametrize("coordinator", ["joint", "metaalign", "pcgrad"])
def test_a_teacher_teaches_with_any_coordinator(method, coordinator):
    opts = (*EAGER, "TEACHER.METHOD", method, "ADAPTATION.COORDINATOR", coordinator)
    h = trained(*opts)
    for name in ("loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"):
        values = [v for v, _ in h.storage.history(f"{name}_target").values()]
        assert len(values) == 3 and all(v >= 0 for v in values) and values[0] < 1e3
    assert h.storage.history("loss_da_local").values()
    other = trained("ADAPTATION.COORDINATOR", coordinator).state()
    assert any(not torch.equal(v, other[k]) for k, v in h.state().items())


def test_without_boxes_only_classes_are_learned_from_hard_labels():
    h = trained(*EAGER, "TEACHER.BOX_LOSSES", False, steps=1)
    names = set(h.storage.histories())
    assert {"loss_cls_target", "loss_rpn_cls_target"} <= names
    assert not {"loss_box_reg_target", "loss_rpn_loc_target"} & names


def test_a_teacher_that_is_sure_of_nothing_leaves_training_as_it_is():
    opts = (*TEACHER, "TEACHER.THRESHOLD", 1.0)
    silent, plain = trained(*opts), trained()
    assert "loss_cls_target" not in silent.storage.histories()
    assert silent.storage.history("teacher/labels_per_image").latest() == 0
    for (k, a), b in zip(silent.state().items(), plain.state().values()):
        assert torch.equal(a, b), k


def test_reported_labels_are_those_of_all_micro_batches():
    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "", *EAGER, "SOLVER.ACCUMULATION_STEPS", 2)
    h = Harness(cfg, [views(0, 4)])
    teacher = h.source.learning.average.model
    predict, labels = teacher.pseudo_labels, []

    def first_micro_batch_only(images, threshold):
        labels.extend([{} for _ in images] if labels else predict(images, threshold))
        return labels[-len(images) :]

    teacher.pseudo_labels = first_micro_batch_only
    h.train(0, 1)
    assert len(labels) == 4 and all(labels[:2])
    count = sum(len(x["instances"]) for x in labels[:2])
    assert h.storage.history("teacher/images_with_labels").latest() == 0.5
    assert h.storage.history("teacher/labels_per_image").latest() == count / 4


@pytest.mark.parametrize("order", ["first", "exact"])
def test_a_single_label_teaches_through_batchnorm_of_a_fully_connected_layer(order, monkeypatch):
    cfg = classifier_config(
        "dann", "MODEL.DIGITS_NET.NORM", "BN", *TEACHER, "METAALIGN.ENABLED", True,
        "METAALIGN.ORDER", order, "METAALIGN.ROLE", "task",
    )  # fmt: skip
    target = pictures(4, label=False)
    data = {"source": pictures(4), "target": target, "target_strong": strong(target)}
    torch.manual_seed(0)
    h = Harness(cfg, [data], build_model(cfg).double().train())
    teacher = h.source.learning.average.model
    monkeypatch.setattr(teacher, "pseudo_labels", lambda *_: [{"label": 1}, {}, {}, {}])
    h.train(0, 1)
    assert h.storage.history("loss_cls_target").latest() > 0
    assert h.storage.history("teacher/images_with_labels").latest() == 0.25


@pytest.mark.parametrize("method", ["hard", "soft"])
def test_without_target_images_there_is_no_lesson(method):
    batches = [{**views(0), "target": [], "target_strong": []}]
    h = trained(*EAGER, "TEACHER.METHOD", method, steps=1, batches=batches)
    assert "loss_cls_target" not in h.storage.histories()


def test_a_teachers_labels_never_come_from_the_targets_annotations():
    labelled = views(0)
    for x, y in zip(labelled["target"], batch(2, 2, seed=9)["source"]):
        x["instances"] = y["instances"]
    with_labels = trained(*EAGER, steps=1, batches=[labelled]).state()
    without = trained(*EAGER, steps=1, batches=[views(0)]).state()
    for (k, a), b in zip(with_labels.items(), without.values()):
        assert torch.equal(a, b), k


def test_a_student_equal_to_its_teacher_on_the_same_view_loses_only_the_entropy():
    # Without context vectors, which come from a discriminator with dropout.
    opts = ("MODEL.DA.GLOBAL.NORM", "", *EAGER, "TEACHER.METHOD", "soft")
    h = Harness(tiny_cfg(*opts, context=False), [])
    model, average = h.model, h.source.learning.average
    average.copy_from(model)
    weak = batch(1, 1)["target"]
    with torch.no_grad(), EventStorage():
        targets = average.model.soft_targets(weak)
        losses = model.distillation_losses(weak, average.model, targets, 0.0)
    assert losses["loss_box_reg"] == pytest.approx(0, abs=1e-6)
    assert losses["loss_rpn_loc"] == pytest.approx(0, abs=1e-6)
    assert losses["loss_cls"] > 0


def test_box_regression_of_a_soft_lesson_has_its_weight_in_supervised_training():
    def losses(weight):
        opts = (*EAGER, "TEACHER.METHOD", "soft", "MODEL.ROI_BOX_HEAD.BBOX_REG_LOSS_WEIGHT", weight)
        found = trained(*opts, steps=1).storage.histories()
        return {k: v.latest() for k, v in found.items() if k.endswith("_target")}

    once, thrice = losses(1.0), losses(3.0)
    box = "loss_box_reg_target"
    assert once[box] > 0 and thrice.pop(box) == pytest.approx(3 * once.pop(box))
    assert thrice == once


def test_a_soft_lesson_draws_from_the_streams_alone():
    torch.manual_seed(9)
    expected = torch.rand(3)
    h = Harness(tiny_cfg(*EAGER, "TEACHER.METHOD", "soft"), [views(0)])  # context, with dropout
    torch.manual_seed(9)
    h.train(0, 1)
    assert torch.equal(torch.rand(3), expected)


def test_exact_mode_in_full_precision_learns_from_a_teacher_in_half():
    opts = ("ADAPTATION.COORDINATOR", "metaalign", "METAALIGN.ORDER", "exact", "METAALIGN.ROLE")
    cfg = tiny_cfg(*EAGER, "TEACHER.METHOD", "soft", *opts, "task")
    h = Harness(cfg, [views(0)])
    h._trainer.autocast_dtype = torch.bfloat16
    h.train(0, 1)
    assert h.storage.history("loss_cls_target").latest() > 0


def test_lessons_start_at_their_iteration():
    h = trained(*EAGER, "TEACHER.START_ITER", 2, steps=3)
    assert len(h.storage.history("loss_cls_target").values()) == 1


@pytest.mark.parametrize(
    "opts, message",
    [
        ((*TEACHER, "EMA.ENABLED", False), "EMA.ENABLED"),
        ((*TEACHER, "INPUT.VIEWS.TARGET", "weak"), "INPUT.VIEWS.TARGET 'both'"),
        ((*TEACHER, "DATASETS.TARGET", ()), "DATASETS.TARGET"),
        ((*TEACHER, "TEACHER.METHOD", "gentle"), "TEACHER.METHOD 'gentle'"),
        ((*TEACHER, "TEACHER.THRESHOLD", 1.5), "TEACHER.THRESHOLD"),
        ((*TEACHER, "EMA.DECAY", 1.0), "EMA.DECAY"),
        ((*SOFT, "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE", True), "USE_SIGMOID_CE"),
        ((*SOFT, "MODEL.ROI_HEADS.NAME", "StandardROIHeads"), "needs RoI heads that give region"),
    ],
)
def test_settings_that_cannot_be_are_named(opts, message):
    with pytest.raises(UserError, match=message):
        Harness(tiny_cfg(*opts, context=False), [])


def test_layers_that_would_wait_for_a_process_without_a_label_are_refused(monkeypatch):
    cfg = tiny_cfg("MODEL.RESNETS.NORM", "SyncBN", *TEACHER)
    model = tiny_model(cfg)
    build_gradient_source(cfg, model)  # one process waits for none
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
    with pytest.raises(UserError, match="TEACHER.METHOD 'hard' .*NORM 'SyncBN'.*'soft'"):
        build_gradient_source(cfg, model)
    cfg.TEACHER.METHOD = "soft"
    build_gradient_source(cfg, model)


def test_a_batch_without_strong_views_is_a_clear_error():
    with pytest.raises(UserError, match="INPUT.VIEWS.TARGET"):
        trained(*EAGER, steps=1, batches=[batch(2, 2)])
