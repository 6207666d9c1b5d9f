"""The matrix of all predictions at once: rank and correlation of classes.

P (N, K) are the target probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .inputs import Inputs
from .validator import Validator


def nuclear_norm(inputs: Inputs) -> Tensor:
    """||P||_* / N, the sum of P's singular values.

    High where predictions are sure and of many classes: with n_k sure predictions of class k it is
    sum_k sqrt(n_k) / N.
    """
    p = inputs.target.probabilities.double()
    return torch.linalg.matrix_norm(p, ord="nuc") / len(p)


def class_correlation(inputs: Inputs) -> Tensor:
    """trace(P^T P) / ||P^T P||_F, in [1, sqrt(K)].

    That is sqrt(K) times the cosine similarity of the classes' correlation, P^T P / N, and the
    identity. High, at best sqrt(K), where predictions are sure and spread evenly over the classes;
    1 for a model that answers one class for everything, or that knows nothing.

    Note:
        Tu et al. report that it rises with accuracy, so high is better. The code of EnsV (Hu et
        al.) minimises it as its baseline "Corr-C", which prefers collapsed models.
    """
    p = inputs.target.probabilities.double()
    correlation = p.T @ p
    return correlation.trace() / torch.linalg.matrix_norm(correlation)


BNM = Validator(
    "bnm",
    "classification",
    ("target",),
    True,
    nuclear_norm,
    "Cui et al., Towards Discriminability and Diversity: Batch Nuclear-norm Maximization, CVPR "
    "2020",
)
CORR_C = Validator(
    "corr_c",
    "classification",
    ("target",),
    True,
    class_correlation,
    "Tu et al., What Does Softmax Probability Tell Us about Classifiers Ranking Across Diverse "
    "Test Conditions?, 2024 (there SoftmaxCorr)",
)
