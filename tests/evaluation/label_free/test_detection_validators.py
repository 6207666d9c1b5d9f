"""Every validator of detection on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from metaalign_det.evaluation.label_free import Detections, Inputs, get_validator


def found(*rows):
    """Detections of two classes from (box, probabilities over both and background, feature)."""
    boxes = torch.tensor([b for b, _, _ in rows]).reshape(-1, 4)
    p = torch.tensor([q for _, q, _ in rows]).reshape(-1, 3)
    features = torch.tensor([f for _, _, f in rows]).reshape(-1, 2)
    scores, classes = p[:, :2].max(dim=1) if len(rows) else (torch.zeros(0), torch.zeros(0).long())
    return Detections(boxes, scores, classes, p, features)


BOX, HALF = [0.0, 0, 10, 10], [0.0, 0, 10, 5]
CAT, DOG = [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
JUNK = [0.2, 0.1, 0.7]
AT = [0.0, 0.0]


def entropy(p):
    return -sum(x * math.log(x) for x in p)


def test_confidence_and_entropy_are_means_over_detections_not_images():
    detections = [
        found((BOX, CAT, AT), (BOX, [0.4, 0.3, 0.3], AT)),
        found(),
        found((BOX, JUNK, AT)),
    ]
    inputs = Inputs(detections=detections)
    assert get_validator("det_confidence")(inputs) == pytest.approx(0.6)
    expected = (entropy(CAT) + entropy([0.4, 0.3, 0.3])) / 2
    assert get_validator("det_entropy")(inputs) == pytest.approx(expected, rel=1e-5)


def test_a_detector_that_finds_nothing_has_no_score():
    nothing = Inputs(detections=[found()], perturbed=[[found()]], source_detections=[found()])
    for name in ("det_confidence", "det_entropy", "fis", "pdr"):
        assert math.isnan(get_validator(name)(nothing)), name


def fis(before, *passes):
    return get_validator("fis")(Inputs(detections=before, perturbed=passes))


def test_fis_is_minus_one_where_a_perturbation_changes_nothing():
    before = [found((BOX, CAT, AT), (HALF, DOG, AT))]
    after = [found((HALF, DOG, AT), (BOX, CAT, AT))]  # order does not matter: they are matched
    assert fis(before, after) == pytest.approx(-1.0, abs=1e-6)


def test_fis_adds_overlap_lost_and_divergence():
    divergence = sum(p * math.log(p / q) for p, q in zip(CAT, DOG))
    assert fis([found((BOX, CAT, AT))], [found((HALF, DOG, AT))]) == pytest.approx(
        -0.5 + divergence, rel=1e-5
    )


def test_fis_averages_over_pairs_and_passes_and_leaves_unmatched_ones_out():
    before = [found((BOX, CAT, AT), (HALF, CAT, AT)), found((BOX, CAT, AT))]
    same = [found((BOX, CAT, AT)), found((BOX, CAT, AT))]
    halved = [found((HALF, CAT, AT), (HALF, CAT, AT)), found()]
    # First pass: two pairs at -1. Second: one pair at -1 and one at -0.5.
    assert fis(before, same, halved) == pytest.approx((-1 - 1 - 1 - 0.5) / 4)


def test_pdr_is_the_distance_between_classes_over_that_between_domains():
    source = [found((BOX, CAT, [0.0, 0.0]), (BOX, DOG, [4.0, 0.0]))]
    target = [
        found((BOX, CAT, [0.0, 2.0]), (BOX, JUNK, [9.0, 9.0])),
        found((BOX, CAT, [0.0, 4.0])),
        found((BOX, DOG, [4.0, 3.0])),
    ]
    # Target prototypes (0, 3) and (4, 3): within 3 and 3; across (0,0)-(4,3) and (4,0)-(0,3): 5.
    inputs = Inputs(detections=target, source_detections=source)
    assert get_validator("pdr")(inputs) == pytest.approx(5 / 3)
    one_class = Inputs(detections=target[:1], source_detections=source)
    assert math.isnan(get_validator("pdr")(one_class))
