"""How sure a detector is of what it finds on target images.

Both look at detections scored 0.3 or more alone: below that they are mostly duplicates, whose
number says more about the test threshold than about the detector. Both are blind to what is
missed, and a detector that finds nothing has neither.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .entropy import entropies
from .inputs import Inputs
from .validator import Validator

MIN_SCORE = 0.3


def detection_entropy(inputs: Inputs) -> Tensor:
    """Mean entropy (nats) of the class distribution, background included, over all detections."""
    p = torch.cat([d.above(MIN_SCORE).probabilities for d in inputs.detections])
    return entropies(p.double()).mean()  # NaN without any


def detection_confidence(inputs: Inputs) -> Tensor:
    """Mean score of all detections."""
    return torch.cat([d.above(MIN_SCORE).scores for d in inputs.detections]).double().mean()


_PAPER = "baselines of Yu et al., Towards Unsupervised Model Selection for Domain Adaptive Object "
DET_ENTROPY = Validator(
    "det_entropy",
    "detection",
    ("detections",),
    False,
    detection_entropy,
    _PAPER + "Detection, NeurIPS 2024",
)
DET_CONFIDENCE = Validator(
    "det_confidence",
    "detection",
    ("detections",),
    True,
    detection_confidence,
    _PAPER + "Detection, NeurIPS 2024",
)
