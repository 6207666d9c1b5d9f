"""The Detection Adaptation Score's two halves: flat minima, and prototypes that fit.

Reference: Yu et al., Towards Unsupervised Model Selection for Domain Adaptive Object Detection,
NeurIPS 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, pairwise_iou
from torch import Tensor

from .detection_confidence import MIN_SCORE
from .inputs import Detections, Inputs
from .validator import Validator

_PAPER = (
    "Yu et al., Towards Unsupervised Model Selection for Domain Adaptive Object Detection, NeurIPS "
    "2024"
)


def flatness_index(inputs: Inputs) -> float:
    """Mean of -IoU + KL over detections matched before and after a perturbation of the weights.

    The weights move by a random direction of length 1. On each image the detections before (p) and
    after (q) are matched one to one at the least total of -IoU(p, q) + KL(P_p || P_q), P over
    classes and background. Low, at best -1, where the minimum is flat.

    Detections scored 0.3 or more are matched; images on which either side has none are left out,
    and without any the score is NaN.
    """
    costs = [
        _matched_cost(before.above(MIN_SCORE), after.above(MIN_SCORE))
        for passes in inputs.perturbed
        for before, after in zip(inputs.detections, passes, strict=True)
    ]
    values = torch.cat([*costs, torch.zeros(0, dtype=torch.float64)])
    return float(values.mean())


def _matched_cost(before: Detections, after: Detections) -> Tensor:
    """Costs of the matched pairs, shape (min(R_before, R_after),), float64."""
    from scipy.optimize import linear_sum_assignment  # only here: it changes warnings' filters

    if not len(before.boxes) or not len(after.boxes):
        return torch.zeros(0, dtype=torch.float64)
    iou = pairwise_iou(Boxes(before.boxes.double()), Boxes(after.boxes.double()))
    tiny = torch.finfo(torch.float32).tiny
    p = before.probabilities.double().clamp_min(tiny)
    q = after.probabilities.double().clamp_min(tiny)
    divergence = (p * p.log()).sum(dim=1, keepdim=True) - p @ q.log().T
    cost = divergence - iou
    rows, columns = linear_sum_assignment(cost.numpy())
    return cost[rows, columns]


def prototype_distance_ratio(inputs: Inputs) -> float:
    """Mean distance of prototypes of different classes over that of one class, across domains.

        PDR = mean over c != c' of ||s_c - t_c'|| / mean over c of ||s_c - t_c||

    s_c and t_c are the mean features of detections of class c on source and target images, scored
    0.3 or more. High where the domains agree on each class (transferable) and classes lie apart
    (discriminative). Classes that are not found in both domains are left out; NaN with fewer than
    two.

    Note:
        On the source the paper has labels to go by; here the detections of the trained model stand
        in for them, so that no annotation is read at all.
    """
    source = _prototypes(inputs.source_detections)
    target = _prototypes(inputs.detections)
    common = sorted(source.keys() & target.keys())
    if len(common) < 2:
        return math.nan
    s = torch.stack([source[c] for c in common])
    t = torch.stack([target[c] for c in common])
    distances = torch.cdist(s, t)
    within = distances.diagonal()
    n = len(common)
    between = (distances.sum() - within.sum()) / (n * n - n)
    return float(between / within.mean())


def _prototypes(detections: Sequence[Detections]) -> dict[int, Tensor]:
    kept = [d.above(MIN_SCORE) for d in detections]
    classes = torch.cat([d.classes for d in kept])
    features = torch.cat([d.features for d in kept]).double()
    return {int(c): features[classes == c].mean(dim=0) for c in classes.unique()}


FIS = Validator("fis", "detection", ("detections", "perturbed"), False, flatness_index, _PAPER)
PDR = Validator(
    "pdr",
    "detection",
    ("detections", "source_detections"),
    True,
    prototype_distance_ratio,
    _PAPER,
)
