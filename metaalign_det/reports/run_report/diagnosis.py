"""What kind of mistakes each run makes: from its predictions and the ground truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...evaluation.average_precision import Curve, Detected, ap_11_point, ap_area
from ...evaluation.calibration import Reliability, detection_reliability, reliability
from ...evaluation.confusion import detection_confusion
from ...evaluation.error_types import ErrorBreakdown, break_down
from ...evaluation.matching import Matches, match, resampled_mean_ap
from ..statistics import UNKNOWN, Interval, image_weights, percentile_interval
from .ground_truth import LabelledImages, read_ground_truth
from .groups import Group
from .run_files import RunFiles

#: Detections below this score are neither drawn nor counted as answers.
SCORE_THRESHOLD = 0.5
_AVERAGES: Mapping[str, Callable[[Curve], float]] = {
    "voc/AP50_11pt": ap_11_point,
    "voc/AP50_area": ap_area,
}
_CLASS_MEAN = "classification/accuracy_class_mean"
#: Metrics that are worked out anew on resamples of the test images.
_RESAMPLED = (*_AVERAGES, "classification/accuracy", _CLASS_MEAN)


def error_metric(metric: str) -> str:
    """The AP that costs of errors are told in: ``metric`` if it can be, else the 11-point one."""
    return metric if metric in _AVERAGES else "voc/AP50_11pt"


@dataclass(frozen=True)
class Diagnosis:
    """One run on one test set.

    Args:
        class_names: in the order of the class numbers.
        reliability: confidence against accuracy.
        confusion: shape (K + 1, K + 1) for a detector, (K, K) for a classifier.
        errors: by type; None for a classifier.
        matches: None for a classifier.
        detected: image -> detections; empty for a classifier.
        answers: image -> (true class, predicted class, probability); empty for a detector.
    """

    class_names: Sequence[str]
    reliability: Reliability
    confusion: NDArray
    errors: ErrorBreakdown | None = None
    matches: Matches | None = None
    detected: Mapping[object, Detected] = field(default_factory=dict)
    answers: Mapping[object, tuple[str, str, float]] = field(default_factory=dict)
    _resamples: dict[tuple[str, int], NDArray] = field(default_factory=dict)

    def resampled(self, metric: str, resamples: int) -> NDArray:
        """Scores in [0, 1], shape (1 + resamples,): on all images, then on resamples of them.

        The resamples are always the same, so that two runs can be compared on them.
        """
        key = metric, resamples
        if key not in self._resamples:
            self._resamples[key] = self._resample(metric, resamples)
        return self._resamples[key]

    def _resample(self, metric: str, resamples: int) -> NDArray:
        if self.matches is None:
            labels = np.array([label for label, _, _ in self.answers.values()])
            right = np.array([label == told for label, told, _ in self.answers.values()], float)
            weights = _with_all(image_weights(len(right), resamples))
            if metric != _CLASS_MEAN:
                return weights @ right / len(right)
            of_class = [labels == label for label in np.unique(labels)]
            with np.errstate(invalid="ignore"):  # a class that is in no image of a resample
                by_class = [weights @ (right * of) / (weights @ of) for of in of_class]
            return np.nanmean(by_class, axis=0)
        weights = _with_all(image_weights(self.matches.images, resamples))
        average = _AVERAGES[metric]
        return resampled_mean_ap(self.matches, len(self.class_names), weights, average)


@dataclass(frozen=True)
class Diagnoses:
    """All runs on one test set.

    Args:
        dataset: its name; "" where there is none.
        truth: its images; None where they are not on this machine.
        by_run: label of the group -> seed -> diagnosis, where there is one.
        notes: why something is missing.
    """

    dataset: str
    truth: LabelledImages | None
    by_run: Mapping[str, Mapping[Hashable, Diagnosis]]
    notes: Sequence[str] = ()

    def of(self, label: str) -> list[Diagnosis]:
        """Those of a group's runs."""
        return list(self.by_run.get(label, {}).values())


def diagnose(groups: Sequence[Group], dataset: str, metric: str) -> Diagnoses:
    """Hold the predictions of every run against the ground truth of one test set.

    Args:
        groups: the runs.
        dataset: the test set; "" for none.
        metric: the AP that the cost of errors is told in; 11-point unless it is another of ours.
    """
    if not dataset:
        return Diagnoses(dataset, None, {})
    notes: list[str] = []
    truth = None
    try:
        tested = (run for group in groups for run in group if dataset in run.tests)
        truth = read_ground_truth(dataset, next(tested, groups[0].first))
    except UserError as error:
        notes.append(
            f"The images of {dataset} are not here, so errors cannot be told apart and no samples "
            f"are shown ({str(error).splitlines()[0]})"
        )
    found: dict[str, dict[Hashable, Diagnosis]] = {}
    for group in groups:
        for seed, run in group.runs.items():
            one = _diagnose_run(run, dataset, truth, _AVERAGES[error_metric(metric)])
            if one is not None:
                found.setdefault(group.label, {})[seed] = one
    without = [g.label for g in groups if g.label not in found]
    if truth is not None and without:
        notes.append(f"No predictions on {dataset} were saved by {', '.join(without)}.")
    return Diagnoses(dataset, truth, found, notes)


def _diagnose_run(
    run: RunFiles, dataset: str, truth: LabelledImages | None, average: Callable[[Curve], float]
) -> Diagnosis | None:
    answers, confusion = (run.inference(kind, dataset) for kind in ("predictions", "confusion"))
    if answers and confusion:
        return _diagnose_classifier(answers, confusion)
    detections = run.inference("detections", dataset)
    # No file, not no detection: a detector that finds nothing has missed everything.
    if detections is None or truth is None or not truth.truths:
        return None
    truths, detected = list(truth.truths.values()), truth.detected(detections)
    matches = match(truths, detected)
    k = len(truth.class_names)
    return Diagnosis(
        truth.class_names,
        detection_reliability(matches),
        detection_confusion(truths, detected, k, score_threshold=SCORE_THRESHOLD),
        break_down(matches, k, average=average),
        matches,
        dict(zip(truth.truths, detected)),
    )


def _diagnose_classifier(answers: Sequence[Mapping], confusion: Mapping) -> Diagnosis:
    # In one order, so that a resample is of the same images in every run: each process of an
    # evaluation appends its own. JSON has no NaN: the score of a model that has diverged.
    by_image = {
        a["image_id"]: (
            a["label"],
            a["predicted"],
            math.nan if a["score"] is None else a["score"],
        )
        for a in sorted(answers, key=lambda a: str(a["image_id"]))
    }
    return Diagnosis(
        confusion["classes"],
        reliability(
            [score for _, _, score in by_image.values()],
            [label == predicted for label, predicted, _ in by_image.values()],
        ),
        np.array(confusion["matrix"]),
        answers=by_image,
    )


def interval_over_images(
    diagnoses: Diagnoses, first: str, second: str, metric: str, resamples: int = 300
) -> Interval:
    """How far the difference of two groups could move with other test images of the same kind.

    A paired bootstrap over images: both are scored on the same resamples, seed by seed, and the
    differences averaged. It says nothing about what another training would give. A score is
    biased on resamples, where every third image is missing: the differences are moved to have the
    mean that was observed.

    Args:
        diagnoses: of the test set.
        first, second: labels of the groups.
        metric: that is compared.
        resamples: of the images.

    Returns:
        Interval: 95 %, of second minus first, in points; unknown without common seeds, where two
            runs of a classifier saw other images, and for a metric that is not worked out here,
            such as AP_coco or that of one class.
    """
    if metric not in _RESAMPLED:
        return UNKNOWN
    ours, theirs = diagnoses.by_run.get(first, {}), diagnoses.by_run.get(second, {})
    seeds = [seed for seed in ours if seed in theirs]
    images = {tuple(one.answers) for seed in seeds for one in (ours[seed], theirs[seed])}
    if len(images) != 1:  # none, or other images in one run than in another
        return UNKNOWN
    total = np.zeros(1 + resamples)
    for seed in seeds:
        a, b = ours[seed], theirs[seed]
        total += b.resampled(metric, resamples) - a.resampled(metric, resamples)
    scores = 100.0 * total / len(seeds)
    observed, drawn = scores[0], scores[1:]
    drawn = drawn[~np.isnan(drawn)]  # as where no image of a resample has an object
    return percentile_interval(drawn - drawn.mean() + observed) if len(drawn) else UNKNOWN


def _with_all(weights: NDArray) -> NDArray:
    """Each image once, before the resamples. Shape (resamples, N) -> (1 + resamples, N)."""
    return np.vstack([np.ones_like(weights[:1]), weights])
