"""What is collected is what the model says, and the model is left as it was."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free import VALIDATORS, collect
from metaalign_det.evaluation.label_free.collect import perturbed_weights
from tests.explain.checkpoints import classifier_cfg, detector_cfg
from tests.tiny import images, tiny_model


def batches(count=5, size=(16, 16), **kwargs):
    items = images(count, 1, size=size, labelled=False, **kwargs)
    return [items[:2], items[2:]]


def state(model):
    modes = {n: m.training for n, m in model.named_modules()}
    return modes, {k: v.clone() for k, v in model.state_dict().items()}


def assert_untouched(model, before, random):
    modes, weights = state(model)
    assert modes == before[0]
    assert all(torch.equal(v, before[1][k]) for k, v in weights.items())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.fixture
def classifier():
    return tiny_model(classifier_cfg())


@pytest.fixture
def detector():
    return tiny_model(detector_cfg())


def test_a_classifiers_probabilities_and_the_features_that_make_them(classifier):
    before, random = state(classifier), torch.get_rng_state()
    labelled = [[{**x, "label": n} for n, x in enumerate(b)] for b in batches()]
    needs = {"target", "source", "features"}
    inputs = collect(classifier, "classification", needs, batches(), labelled)
    assert_untouched(classifier, before, random)
    assert inputs.target.labels is None
    assert inputs.source.labels.tolist() == [0, 1, 0, 1, 2]
    made = classifier.classifier(inputs.target.features).softmax(dim=1)
    torch.testing.assert_close(made, inputs.target.probabilities)
    assert inputs.mixtures is None


def test_features_are_looked_at_only_where_a_validator_reads_them(classifier):
    classifier.last, classifier.classifier = classifier.classifier, None
    classifier.forward = lambda batch: [{"scores": torch.full((3,), 1 / 3)} for _ in batch]
    inputs = collect(classifier, "classification", {"target"}, batches())
    assert inputs.target.features is None and inputs.features is None
    with pytest.raises(UserError, match="has none of that name"):
        collect(classifier, "classification", {"target", "features"}, batches())


def test_mixtures_pair_a_batch_from_its_two_ends(classifier):
    inputs = collect(classifier, "classification", {"mixtures"}, batches())
    assert inputs.target is None
    mixed = inputs.mixtures
    assert len(mixed.probabilities) == 2 + 2  # the middle one of three has no partner
    (a, b), rest = batches()
    classifier.eval()
    with torch.no_grad():
        blend = {"image": 0.55 * a["image"] + 0.45 * b["image"]}
        torch.testing.assert_close(classifier([blend])[0]["scores"], mixed.probabilities[0])
        torch.testing.assert_close(classifier([b])[0]["scores"], mixed.second[0])
        torch.testing.assert_close(classifier([rest[0]])[0]["scores"], mixed.first[2])


def test_images_of_different_sizes_cannot_be_mixed(classifier):
    two = [[*images(1, 1, labelled=False), *images(1, 1, size=(32, 64), labelled=False)]]
    with pytest.raises(UserError, match="MixVal mixes images of one size"):
        collect(classifier, "classification", {"mixtures"}, two)


def test_a_detectors_class_distributions_and_features_belong_to_its_boxes(detector):
    before, random = state(detector), torch.get_rng_state()
    target = batches(size=(64, 64))
    inputs = collect(detector, "detection", {"detections"}, target)
    assert_untouched(detector, before, random)
    detector.eval()
    with torch.no_grad():
        outputs = [o["instances"] for b in target for o in detector(b)]
    for found, expected in zip(inputs.detections, outputs, strict=True):
        assert len(found.boxes) > 0
        assert torch.equal(found.boxes, expected.pred_boxes.tensor)
        own = found.probabilities.gather(1, found.classes[:, None])[:, 0]
        torch.testing.assert_close(own, found.scores)
        torch.testing.assert_close(found.probabilities.sum(dim=1), torch.ones(len(own)))
        assert len(found.features) == len(own)
        assert not expected.has("class_probabilities"), "the wrapping is gone"


def test_perturbed_weights_are_a_unit_away_and_come_back_bit_for_bit(detector):
    before, random = state(detector), torch.get_rng_state()
    old = {n: p.detach().clone() for n, p in detector.named_parameters()}
    with perturbed_weights(detector, 1.0, 0):
        moved = {n: (p.detach() - old[n]) for n, p in detector.named_parameters()}
    assert_untouched(detector, before, random)
    length = sum(m.square().sum() for m in moved.values()).sqrt()
    assert float(length) == pytest.approx(1.0, abs=1e-4)
    assert all(not m.any() for n, m in moved.items() if n.startswith("discriminators"))


def test_perturbed_detections_come_with_the_unperturbed(detector):
    target = batches(size=(64, 64))
    needs = {"detections", "perturbed"}
    inputs = collect(detector, "detection", needs, target, perturbations=2)
    assert len(inputs.perturbed) == 2 and len(inputs.perturbed[0]) == 5
    again = collect(detector, "detection", needs, target, perturbations=2)
    assert torch.equal(inputs.perturbed[1][0].scores, again.perturbed[1][0].scores)
    assert not torch.equal(inputs.perturbed[0][0].scores, inputs.perturbed[1][0].scores)


@pytest.mark.parametrize("task", ["classification", "detection"])
def test_every_validator_scores_a_real_model(task, classifier, detector):
    model, size = {"classification": (classifier, (16, 16)), "detection": (detector, (64, 64))}[
        task
    ]
    chosen = [v for v in VALIDATORS.values() if v.task == task]
    source = [[{**x, "label": 0} for x in b] for b in batches(size=size, seed=7)]
    needs = {n for v in chosen for n in v.needs}
    inputs = collect(model, task, needs, batches(size=size), source)
    if task == "classification":
        inputs = inputs.with_ensemble(inputs.target.probabilities)
    for validator in chosen:
        assert isinstance(validator(inputs), float), validator.name


def test_source_images_that_are_needed_and_not_there_are_named(classifier):
    with pytest.raises(UserError, match="needs source images, and there are none"):
        collect(classifier, "classification", {"source"}, batches())
    with pytest.raises(UserError, match="one box predictor"):
        collect(classifier, "detection", {"detections"}, batches())
