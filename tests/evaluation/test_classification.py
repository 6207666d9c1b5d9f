"""Accuracy, its two means, and the confusion matrix."""

from __future__ import annotations

import json
import logging
import math

import pytest
import torch
from detectron2.data import MetadataCatalog

from metaalign_det.errors import UserError
from metaalign_det.evaluation import ClassificationEvaluator

CLASSES = ["Drill", "Bike", "Clock"]
LABELS = [0, 0, 0, 1]  # no Clock
PREDICTED = [0, 0, 2, 0]


def inputs(labels):
    return [{"image_id": f"im{i}", "label": k} for i, k in enumerate(labels)]


def outputs(predicted, k=3):
    return [{"scores": torch.nn.functional.one_hot(torch.tensor(p), k).float()} for p in predicted]


def evaluator(**arguments):
    return ClassificationEvaluator("digits/test", class_names=CLASSES, **arguments)


def test_overall_and_class_mean_accuracy_by_hand(caplog):
    """Drill 2 of 3, Bike 0 of 1, Clock absent: overall 2/4, class mean (2/3 + 0) / 2."""
    e = evaluator()
    e.process(inputs(LABELS), outputs(PREDICTED))
    with caplog.at_level(logging.INFO, "metaalign_det"):
        results = e.evaluate()["classification"]
    assert results["accuracy"] == pytest.approx(50.0)
    assert results["accuracy_class_mean"] == pytest.approx(100 / 3)
    assert results["accuracy/Drill"] == pytest.approx(200 / 3)
    assert results["accuracy/Bike"] == 0.0
    assert math.isnan(results["accuracy/Clock"])
    assert "no images of Clock" in caplog.text


def test_confusion_matrix_has_true_classes_in_its_rows(tmp_path):
    e = evaluator(output_dir=tmp_path)
    e.process(inputs(LABELS), outputs(PREDICTED))
    e.evaluate()
    saved = json.loads((tmp_path / "confusion_digits_test.json").read_text())
    assert saved["matrix"] == [[2, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert saved["classes"] == CLASSES
    assert saved["results"]["accuracy/Clock"] is None
    assert (tmp_path / "confusion_digits_test.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_predicted_for_each_image_is_saved_with_its_probability(tmp_path):
    e = evaluator(output_dir=tmp_path)
    e.process(inputs([0, 1]), [{"scores": torch.tensor([0.2, 0.7, 0.1])}] * 2)
    e.evaluate()
    first, second = json.loads((tmp_path / "predictions_digits_test.json").read_text())
    assert (first["image_id"], first["label"], first["predicted"]) == ("im0", "Drill", "Bike")
    assert second["label"] == "Bike"
    assert second["score"] == pytest.approx(0.7)


def test_an_image_predicted_twice_counts_once(caplog):
    e = evaluator()
    e.process(inputs(LABELS), outputs(PREDICTED))
    e.process(inputs(LABELS)[:1], outputs([1]))
    assert e.evaluate()["classification"]["accuracy"] == pytest.approx(50.0)
    assert "1 images were predicted more than once" in caplog.text


def test_two_images_of_one_id_are_refused_and_not_one_of_them_left_out():
    """As a registration of somebody's own may have them, numbering each class from 0."""
    e = evaluator()
    given = [{"image_id": 0, "file_name": f"{name}/0.png", "label": 0} for name in ("a", "b")]
    e.process(given[:1] * 2, outputs([0, 0]))
    with pytest.raises(UserError, match="image_id 0 for two files, a/0.png and b/0.png"):
        e.process(given[1:], outputs([1]))


def test_no_images_give_nan_and_reset_forgets():
    e = evaluator()
    e.process(inputs(LABELS), outputs(PREDICTED))
    e.reset()
    assert all(math.isnan(v) for v in e.evaluate()["classification"].values())


def test_class_names_come_from_the_data_set():
    MetadataCatalog.get("classified").thing_classes = CLASSES
    assert ClassificationEvaluator("classified").class_names == CLASSES
    MetadataCatalog.remove("classified")
    with pytest.raises(UserError, match="thing_classes"):
        ClassificationEvaluator("unknown_data_set")


@pytest.mark.parametrize(
    ("given", "scores", "message"),
    [
        ({"image_id": "a"}, torch.zeros(3), "lacks its label"),
        ({"label": 0}, torch.zeros(3), "or its image_id"),
        ({"file_name": "a.png", "label": 3}, torch.zeros(3), "a.png: label 3.*3 classes"),
        ({"file_name": "a.png", "label": 0}, torch.zeros(4), "NUM_CLASSES"),
    ],
)
def test_bad_input_is_refused(given, scores, message):
    with pytest.raises(UserError, match=message):
        evaluator().process([given], [{"scores": scores}])


def test_scores_of_a_diverged_model_are_told(caplog):
    e = evaluator()
    e.process(inputs([0, 1]), [{"scores": torch.full((3,), math.nan)}, *outputs([1])])
    e.evaluate()
    assert "the scores of 1 of 2 images are NaN" in caplog.text
