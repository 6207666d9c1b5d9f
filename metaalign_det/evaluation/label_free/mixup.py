"""Whether predictions hold between target images."""

from __future__ import annotations

import torch
from torch import Tensor

from .inputs import Inputs
from .validator import Validator

#: Share of the first image in a mixture, as published.
WEIGHT = 0.55


def mixval(inputs: Inputs) -> Tensor:
    """Accuracy of predictions on 0.55 x_i + 0.45 x_j against the prediction on x_i.

    Taken over pairs with one predicted class (the neighborhood of clusters is dense) and over pairs
    with two (the boundary runs between them), and averaged over the two kinds that there are.

    Note:
        The paper ranks candidates by each accuracy and averages the ranks; the mean of both is a
        score that a single candidate has.
    """
    mixtures = inputs.mixtures
    first = mixtures.first.argmax(dim=1)
    right = (mixtures.probabilities.argmax(dim=1) == first).double()
    same = first == mixtures.second.argmax(dim=1)
    kinds = [right[same], right[~same]]
    return torch.stack([k.mean() for k in kinds if len(k)]).mean()


MIXVAL = Validator(
    "mixval",
    "classification",
    ("mixtures",),
    True,
    mixval,
    "Hu et al., Mixed Samples as Probes for Unsupervised Model Selection in Domain Adaptation, "
    "NeurIPS 2023",
)
