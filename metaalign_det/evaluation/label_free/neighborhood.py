"""Whether target images cluster by what is predicted of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .entropy import entropies
from .inputs import Inputs
from .validator import Validator

TEMPERATURE = 0.05


def soft_neighborhood_density(inputs: Inputs) -> Tensor:
    """Mean entropy of how similar an image is to each other one.

    With f_i the prediction p_i scaled to length 1, D_ij = softmax over j != i of <f_i, f_j> / 0.05;
    SND = (1/N) sum_i H(D_i). High where images have many close neighbors; log(N - 1) where all
    predictions are equal. NaN for fewer than 3 images.
    """
    f = F.normalize(inputs.target.probabilities.double(), dim=1)
    if len(f) < 3:
        return torch.tensor(torch.nan)
    similarity = (f @ f.T / TEMPERATURE).fill_diagonal_(-torch.inf)
    return entropies(similarity.softmax(dim=1)).mean()


SND = Validator(
    "snd",
    "classification",
    ("target",),
    True,
    soft_neighborhood_density,
    "Saito et al., Tune it the Right Way: Unsupervised Validation of Domain Adaptation via Soft "
    "Neighborhood Density, ICCV 2021",
)
