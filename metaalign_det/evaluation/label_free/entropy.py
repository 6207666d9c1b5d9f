"""How sure a classifier is, and of how many classes.

P (N, K) are the target probabilities, H(p) = -sum_k p_k log p_k in nats.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .inputs import Inputs
from .validator import Validator


def entropies(p: Tensor) -> Tensor:
    """H of every row of ``p`` (Tensor): shape (..., K). Returns shape (...); 0 log 0 = 0."""
    return torch.special.entr(p).sum(dim=-1)


def mean_entropy(inputs: Inputs) -> Tensor:
    """(1/N) sum_i H(p_i).

    Low where predictions are sure, right or wrong: a model that calls everything one class is the
    best of all.
    """
    return entropies(inputs.target.probabilities.double()).mean()


def infomax(inputs: Inputs) -> Tensor:
    """H((1/N) sum_i p_i) - (1/N) sum_i H(p_i), the information of predictions about images.

    Its first term asks for all classes to be predicted equally often: it misleads where the
    target's classes are not.
    """
    p = inputs.target.probabilities.double()
    return entropies(p.mean(dim=0)) - entropies(p).mean()


ENTROPY = Validator(
    "entropy",
    "classification",
    ("target",),
    False,
    mean_entropy,
    "Morerio et al., Minimal-Entropy Correlation Alignment, ICLR 2018",
)
INFOMAX = Validator(
    "infomax",
    "classification",
    ("target",),
    True,
    infomax,
    "Shi and Sha, Information-Theoretical Learning of Discriminative Clusters, ICML 2012",
)
