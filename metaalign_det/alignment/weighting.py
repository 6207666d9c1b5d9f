"""Means over domains, and weights by the entropy of a prediction.

Shape shorthand: N examples, K classes, D domains.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision


def entropy(logits: Tensor) -> Tensor:
    """``H(p) = -sum_k p_k log p_k`` in nats, with ``p = softmax(logits)``.

    Args:
        logits (Tensor): shape (N, K).

    Returns:
        Tensor: shape (N,), between 0 and log K.
    """
    log_p = F.log_softmax(full_precision(logits), dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def entropy_weights(
    logits: Tensor, domains: Tensor, *, offset: float = 0.0, stop_gradient: bool = True
) -> Tensor:
    """``w = offset + exp(-H(p))``, divided by its sum over the examples of the same domain.

    Confident predictions count more: they are the easy ones to transfer (Long et al., CDAN,
    NeurIPS 2018, section 3.3, with offset 1; GVB and MetaAlign, and so DANNPE, with offset 0).
    A gradient flows through the entropy; it belongs to the features' player like the rest of
    what comes from ``logits``.

    Args:
        logits (Tensor): shape (N, K).
        domains (Tensor): long, shape (N,).
        offset: added before normalising, >= 0.
        stop_gradient: take the sum as a constant, as all the published codes do. The gradient is
            then not that of the value, by the term that keeps the weights summing to 1; False
            gives the exact gradient.

    Returns:
        Tensor: shape (N,), summing to 1 within each domain.
    """
    return _normalised(offset + torch.exp(-entropy(logits)), domains, stop_gradient)


def mean_over_domains(values: Tensor, domains: Tensor, weights: Tensor | None = None) -> Tensor:
    """The weighted mean within each domain, averaged over the domains that are present.

    With two domains of equal size and no weights it is the plain mean; with unequal sizes each
    domain still counts the same, so that a discriminator gains nothing from a prior.

    Args:
        values (Tensor): shape (N,).
        domains (Tensor): long, shape (N,).
        weights (Tensor): shape (N,), summing to 1 within each domain; None = equal.

    Returns:
        Tensor: scalar.
    """
    if weights is None:
        weights = _normalised(torch.ones_like(values), domains, True)
    return (weights * values).sum() / len(torch.unique(domains))


def _normalised(raw: Tensor, domains: Tensor, stop_gradient: bool) -> Tensor:
    """``raw`` over its sum within each domain."""
    same = (domains.unsqueeze(0) == domains.unsqueeze(1)).to(raw.dtype)
    return raw / (same @ (raw.detach() if stop_gradient else raw))
