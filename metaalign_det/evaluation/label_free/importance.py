"""The source risk, weighted as if the source images were drawn like the target's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .inputs import Inputs
from .validator import Validator

_L2 = 1e-3  # on the domain classifier's weights, on standardised features
_STEPS = 50


def deep_embedded_validation(inputs: Inputs) -> Tensor:
    """mean(w l) + eta mean(w) - eta, with eta = -cov(w l, w) / var(w).

    l_i is the cross-entropy on source image i, w_i = (N_s / N_t) P(target | f_i) / P(source | f_i)
    the density ratio of its features, from a classifier that tells the domains apart, and the terms
    in eta a control variate that lowers the variance of the estimate.

    Note:
        The paper takes held-out source images, which training images stand in for where no others
        are named, and a two-layer network as domain classifier; here it is a logistic regression
        with an L2 penalty, which has one optimum.
    """
    source, target = inputs.source, inputs.target
    weights = density_ratio(source.features, target.features)
    p = source.probabilities.double().clamp_min(torch.finfo(torch.float64).tiny)
    loss = F.nll_loss(p.log(), source.labels, reduction="none")
    return control_variate_mean(weights * loss, weights)


def control_variate_mean(weighted: Tensor, weights: Tensor) -> Tensor:
    """mean(L) + eta mean(W) - eta for L, W (Tensor): shape (N,); mean(L) if W does not vary."""
    variance = weights.var(correction=0)
    if variance <= 0:
        return weighted.mean()
    covariance = ((weighted - weighted.mean()) * (weights - weights.mean())).mean()
    eta = -covariance / variance
    return weighted.mean() + eta * weights.mean() - eta


def density_ratio(source: Tensor, target: Tensor) -> Tensor:
    """p_target(f) / p_source(f) at every source feature, by logistic regression.

    Args:
        source, target (Tensor): shape (N_s, C) and (N_t, C).

    Returns:
        Tensor: shape (N_s,), float64.
    """
    x = torch.cat([source, target]).double()
    x = (x - x.mean(dim=0)) / x.std(dim=0).clamp_min(1e-6)
    y = torch.cat([torch.zeros(len(source)), torch.ones(len(target))]).to(x)
    w = torch.zeros(x.shape[1] + 1, dtype=x.dtype, device=x.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(x @ w[:-1] + w[-1], y)
        loss = loss + _L2 * w[:-1].square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    with torch.no_grad():
        log_odds = x[: len(source)] @ w[:-1] + w[-1]
        return log_odds.exp() * len(source) / len(target)


DEV = Validator(
    "dev",
    "classification",
    ("target", "source", "features"),
    False,
    deep_embedded_validation,
    "You et al., Towards Accurate Model Selection in Deep Unsupervised Domain Adaptation, ICML "
    "2019",
)
