"""ToAlign: align the target with what the task uses of the source, not with all of it.

Wei et al., ToAlign: Task-oriented Alignment for Unsupervised Domain Adaptation, NeurIPS 2021
(section 3.2). Shape shorthand: N examples, C features, K classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .precision import full_precision


def task_oriented_features(
    features: Tensor, labels: Tensor, predict: Callable[[Tensor], Tensor]
) -> Tensor:
    """Features weighted by what the task reads from them, at their own length.

    With w the gradient of an example's logit of its own class with respect to its features (for a
    linear classifier, the weights of that class),

        f_p = s w * f,      s = |f| / |w * f|

    elementwise, one s per example. As in the authors' code, w is a constant of the step and s is
    not.

    Args:
        features (Tensor): f, shape (N, C).
        labels (Tensor): class numbers, shape (N,), int64.
        predict: logits (N, K) of features (N, C).

    Returns:
        Tensor: f_p, shape (N, C); 0 for an example of whose features the task reads nothing.
    """
    with torch.enable_grad():
        seen = features.detach().requires_grad_()
        own = predict(seen).gather(1, labels.unsqueeze(1)).sum()
        (weights,) = torch.autograd.grad(own, seen)
    weighted = weights.to(features.dtype) * features
    before, after = (full_precision(x).square().sum(1, keepdim=True) for x in (features, weighted))
    nothing = after == 0  # as of a dead example: there is nothing to align
    # Masked before the root, whose second derivative at 0 would make NaN of all that it meets.
    scale = (before.masked_fill(nothing, 1.0) / after.masked_fill(nothing, 1.0)).sqrt()
    return torch.where(nothing, torch.zeros_like(weighted), scale.to(weighted.dtype) * weighted)
