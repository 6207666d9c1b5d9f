"""Class odds: a teacher's labels in the source's proportions."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from metaalign_det.adaptation.class_odds import ClassOdds
from metaalign_det.errors import UserError
from metaalign_det.modeling.distillation import shifted_classes
from tests.adaptation.harness import Harness, trained, views
from tests.adaptation.test_teacher import EAGER
from tests.processes import run
from tests.tiny import batch, tiny_cfg

#: Scores of the tiny detector are about 1/4: some classes pass and some do not.
UNDECIDED = (*EAGER, "TEACHER.THRESHOLD", 0.25)
ODDS = (*UNDECIDED, "TEACHER.CLASS_ODDS.ENABLED", True, "TEACHER.CLASS_ODDS.RATE", 0.5)


def images(*classes):
    return [{"label": c} for c in classes]


def test_a_label_moves_the_odds_as_the_formula_says():
    odds = ClassOdds(3, rate=0.1)
    odds.see(images(0, 0, 1, 2), images(0))  # shares 1/2, 1/4, 1/4; b += 0.1 * 3 * (pi - [k = 0])
    assert odds.log_odds.tolist() == pytest.approx([-0.15, 0.075, 0.075])
    odds.see([], images(2, 2))
    assert odds.log_odds.tolist() == pytest.approx([0.15, 0.225, -0.375])
    assert odds.log_odds.sum().item() == pytest.approx(0, abs=1e-6)


def test_boxes_count_one_by_one_and_images_without_labels_not_at_all():
    boxes = Instances((8, 8), gt_boxes=Boxes(torch.rand(3, 4)), gt_classes=torch.tensor([0, 1, 1]))
    one, other = ClassOdds(2), ClassOdds(2)
    one.see([{"instances": boxes}], [{}, {"instances": boxes}])
    other.see(images(0, 1, 1), images(1, 0, 1))
    assert torch.equal(one.source_counts, other.source_counts)
    assert torch.equal(one.log_odds, other.log_odds)


def test_a_biased_teacher_comes_to_give_labels_in_the_sources_shares():
    generator = torch.Generator().manual_seed(0)
    odds, source = ClassOdds(3), images(0, 0, 1, 1, 1, 2)  # 1/3, 1/2, 1/6
    given = []
    for _ in range(3000):
        z = torch.randn(8, 3, generator=generator) + torch.tensor([0.0, 0.0, 1.0])
        labels = (z + odds.log_odds).argmax(1).tolist()
        given += labels
        odds.see(source, images(*labels))
    before = torch.tensor(given[:80]).bincount(minlength=3) / 80
    after = torch.tensor(given[-8000:]).bincount(minlength=3) / 8000
    assert before[2] > 0.45
    assert after.tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 6], abs=0.02)


def test_a_class_that_the_source_has_not_shown_is_left_alone_and_moves_no_other():
    odds = ClassOdds(3, rate=0.1)
    odds.see(images(0, 1), images(2, 2))
    assert odds.log_odds.tolist() == [0.0, 0.0, 0.0]
    odds.see([], images(0, 2))
    assert odds.log_odds.tolist() == pytest.approx([-0.15, 0.15, 0.0])


@pytest.mark.parametrize("labels", [(0, 1), (2, 2)])  # class 2 never found, nothing else found
def test_classes_gain_on_each_other_and_not_on_the_background(labels):
    odds = ClassOdds(3, rate=0.1, limit=2.0)
    for _ in range(200):
        odds.see(images(0, 1, 2), images(*labels))
    assert odds.log_odds.sum().item() == pytest.approx(0, abs=1e-5)
    never = [-1.0, -1.0, 2.0]
    wanted = never if labels == (0, 1) else [-x for x in never]
    assert odds.log_odds.tolist() == pytest.approx(wanted, abs=1e-5)


def test_the_background_keeps_its_logit_and_the_predictor_is_as_before_outside():
    layer = torch.nn.Identity()
    outputs = (torch.zeros(2, 3), torch.ones(2, 8))
    with shifted_classes(layer, torch.tensor([1.0, -1.0])):
        scores, deltas = layer(outputs)
    assert scores.tolist() == [[1.0, -1.0, 0.0]] * 2
    assert deltas is outputs[1]
    assert layer(outputs) is outputs


def test_a_detector_labels_by_the_odds_and_detects_without_them():
    model = Harness(tiny_cfg("MODEL.DA.GLOBAL.NORM", "", *EAGER), []).model.eval()
    target = batch(1, 2)["target"]
    with torch.no_grad(), EventStorage():
        plain = model.inference(target, do_postprocess=False)
        log_odds = torch.full((model.num_classes,), -30.0)
        log_odds[1] = 0.0
        labels = model.pseudo_labels(target, 0.01, log_odds)
        again = model.inference(target, do_postprocess=False)
    classes = torch.cat([x["instances"].gt_classes for x in labels])
    assert len(classes) and classes.eq(1).all()
    for a, b in zip(plain, again):
        assert torch.equal(a.scores, b.scores) and torch.equal(a.pred_classes, b.pred_classes)


def test_a_cascade_labels_by_the_odds_in_all_of_its_stages():
    cascade = (
        "MODEL.ROI_HEADS.NAME",
        "CascadeROIHeads",
        "MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG",
        True,
    )
    model = Harness(tiny_cfg(*EAGER, *cascade, context=False), []).model.eval()
    log_odds = torch.full((model.num_classes,), -30.0)
    log_odds[1] = 30.0
    with torch.no_grad(), EventStorage():
        labels = model.pseudo_labels(batch(1, 2)["target"], 0.99, log_odds)
    classes = torch.cat([x["instances"].gt_classes for x in labels])
    assert len(classes) and classes.eq(1).all()


@pytest.mark.parametrize(
    "coordinator",
    [
        ("ADAPTATION.COORDINATOR", "joint"),
        ("ADAPTATION.COORDINATOR", "pcgrad"),
        ("ADAPTATION.COORDINATOR", "metaalign"),
        ("ADAPTATION.COORDINATOR", "metaalign", "METAALIGN.ORDER", "exact"),
    ],
)
def test_every_step_is_counted_once_with_any_coordinator(coordinator):
    h = trained(*ODDS, *coordinator)
    seen = sum(len(x["instances"]) for i in range(3) for x in views(i)["source"])
    assert h.source.learning.teacher.class_odds.source_counts.sum() == seen


def test_they_change_what_is_learned_and_come_back_from_a_state():
    plain, corrected = trained(*UNDECIDED).state(), trained(*ODDS)
    assert any(not torch.equal(v, plain[k]) for k, v in corrected.state().items())
    state = corrected._trainer.state_dict()
    assert state["learning"]["class_odds"]["log_odds"].abs().sum() > 0
    fresh = trained(*ODDS, steps=1)
    fresh._trainer.load_state_dict(state)
    for a, b in zip(*(h.source.learning.state_dict()["class_odds"].values()
                      for h in (corrected, fresh))):  # fmt: skip
        assert torch.equal(a, b)


def test_a_state_from_before_there_were_odds_starts_them_anew():
    h = trained(*ODDS, steps=1)
    state = h._trainer.state_dict()
    del state["learning"]
    h._trainer.load_state_dict(state)


def test_a_model_of_unknown_classes_is_a_clear_error():
    h = Harness(tiny_cfg(*EAGER), [])
    del h.model.num_classes
    with pytest.raises(UserError, match="give SWDARCNN an attribute num_classes"):
        Harness(tiny_cfg(*ODDS), [], h.model)


def _see(rank):
    odds = ClassOdds(2)
    odds.see(images(0, 1) if rank else images(0, 0), images(rank))
    return odds.log_odds.tolist(), odds.source_counts.tolist()


def test_two_processes_have_the_odds_of_one_that_saw_all(tmp_path):
    odds = ClassOdds(2)
    odds.see(images(0, 1, 0, 0), images(0, 1))
    for _, status, found in run(_see, store=tmp_path / "store"):
        assert status == "ok", found
        assert found == (odds.log_odds.tolist(), odds.source_counts.tolist())


@pytest.mark.parametrize(
    "opts, message",
    [
        (("TEACHER.METHOD", "soft"), "TEACHER.METHOD 'hard'"),
        (("TEACHER.CLASS_ODDS.RATE", 0.0), "TEACHER.CLASS_ODDS.RATE must be > 0"),
    ],
)
def test_settings_that_cannot_be_are_named(opts, message):
    with pytest.raises(UserError, match=message):
        Harness(tiny_cfg(*ODDS, *opts), [])
