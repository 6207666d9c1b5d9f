"""The interval over images: of the metric that is compared, or none."""

from __future__ import annotations

import json

import numpy as np

from metaalign_det.evaluation.average_precision import Detected, Truth
from metaalign_det.evaluation.calibration import reliability
from metaalign_det.evaluation.matching import match
from metaalign_det.reports.run_report import write_report
from metaalign_det.reports.run_report.diagnosis import Diagnoses, Diagnosis, interval_over_images

from .make_runs import CLASSES, facts, texts, write_classifier


def test_an_interval_over_images_is_of_the_metric_that_is_compared(runs, tmp_path):
    one = {label: folder / "seed0" for label, folder in runs.items()}
    metric = "voc/AP50_11pt/cat"  # is not resampled, only the mean over classes
    path = write_report(one, tmp_path / "report.html", metric=metric)
    _, markdown, numbers = texts(path)
    (difference,) = numbers["summary"]["differences"]
    assert (difference["mean"], difference["low"]) == (10.0, None)
    assert "the noise is not known" in markdown
    # Costs of errors are told in the AP that they are worked out in.
    assert "points of AP50_11pt they cost" in markdown
    assert "AP50_11pt/cat they cost" not in markdown


def classifier(answers):
    by_image = {i: (label, told, 0.8) for i, (label, told) in enumerate(answers)}
    return Diagnosis(CLASSES, reliability([], []), np.zeros((2, 2)), answers=by_image)


def interval_of(before, after, metric):
    diagnoses = Diagnoses("d", None, {"before": {0: before}, "after": {0: after}})
    return interval_over_images(diagnoses, "before", "after", metric)


def test_the_class_mean_is_resampled_as_such():
    """90 cats are right before and after; 10 dogs wrong before, right after: 50 points, not 10."""
    cats = [("cat", "cat")] * 90
    pair = [classifier(cats + [("dog", told)] * 10) for told in CLASSES]
    assert pair[1].resampled("classification/accuracy_class_mean", 10)[0] == 1.0
    low, high = interval_of(*pair, "classification/accuracy_class_mean")
    assert (low, high) == (50.0, 50.0)
    low, high = interval_of(*pair, "classification/accuracy")
    assert 3 < low < 10 < high < 18


def test_resamples_without_any_object_do_not_take_the_interval_away():
    """Objects in 2 of 8 images: every tenth resample has neither."""
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    nothing = np.zeros((0, 4))
    truths = [
        Truth(box if i < 2 else nothing, np.zeros(int(i < 2), int), np.zeros(int(i < 2), bool))
        for i in range(8)
    ]
    pair = []
    for found in (1, 2):
        detected = [
            Detected(box, np.zeros(1, int), np.ones(1))
            if i < found
            else Detected(nothing, np.zeros(0, int), np.zeros(0))
            for i in range(8)
        ]
        matches = match(truths, detected)
        pair.append(Diagnosis(["cat"], reliability([], []), np.zeros((2, 2)), matches=matches))
    assert np.isnan(pair[0].resampled("voc/AP50_11pt", 300)).any()
    low, high = interval_of(*pair, "voc/AP50_11pt")
    assert low < high


def test_answers_are_compared_image_by_image_in_whatever_order_they_were_saved(tmp_path, catalog):
    """Two processes append one behind the other; one alone goes through all images in turn."""
    for label, step in (("one", 1), ("two", 3)):
        folder = write_classifier(tmp_path / label, 0, 6)
        file = folder / "inference" / "figures_test" / "predictions_figures_test.json"
        answers = json.loads(file.read_text())
        file.write_text(json.dumps([a for start in range(step) for a in answers[start::step]]))
    (tmp_path / "two" / "config.yaml").open("a").write("OTHER: 1\n")
    runs = {label: tmp_path / label for label in ("one", "two")}
    (difference,) = facts(write_report(runs, tmp_path / "report.html"))["summary"]["differences"]
    assert (difference["low_over_images"], difference["high_over_images"]) == (0.0, 0.0)


def test_answers_on_other_images_have_no_interval_over_images(tmp_path, catalog):
    for label, right in (("one", 2), ("two", 6)):
        write_classifier(tmp_path / label, 0, right)
    file = tmp_path / "two/inference/figures_test/predictions_figures_test.json"
    answers = json.loads(file.read_text())
    file.write_text(json.dumps([{**answers[0], "image_id": "new"}, *answers[1:]]))
    (tmp_path / "two" / "config.yaml").open("a").write("OTHER: 1\n")
    runs = {label: tmp_path / label for label in ("one", "two")}
    (difference,) = facts(write_report(runs, tmp_path / "report.html"))["summary"]["differences"]
    assert difference["mean"] == 40.0 and difference["interval_over"] == ""
