"""What a domain discriminator minimises: cross-entropy, focal (weak) and least squares (strong).

Shape shorthand: N images (or regions), D domains, ``*`` any trailing positions (H, W or none).

Logits come as (N, D, *) with one column per domain, or as (N, 1, *) with a single logit for "this
is domain 1"; the single logit z stands for the two columns (0, z). Domain 0 is the source and
domain 1 the target wherever there are two. Every loss is a function of p_d, the probability that
the discriminator gives to the true domain d:

    bce            -log p_d
    focal          -(1 - p_d)^gamma log p_d
    least_squares  (1 - p_d)^2

With one logit, p = sigmoid(z) and d in {0, 1}, least squares is (p - d)^2: mean(p^2) on the source
and mean((1 - p)^2) on the target.

References:
    Saito et al., Strong-Weak Distribution Alignment for Adaptive Object Detection, CVPR 2019,
    eq. (1)-(2) (least squares, per pixel) and eq. (3)-(5) (focal, per image).
    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, eq. (4).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import full_precision


def _cross_entropy(log_p: Tensor, gamma: float) -> Tensor:
    return -log_p


def _focal(log_p: Tensor, gamma: float) -> Tensor:
    # The floor keeps the derivative finite at p_d = 1 when gamma < 1.
    miss = _probability_of_the_other(log_p)
    return miss.clamp_min(torch.finfo(miss.dtype).tiny).pow(gamma) * -log_p


def _least_squares(log_p: Tensor, gamma: float) -> Tensor:
    return _probability_of_the_other(log_p).square()


def _probability_of_the_other(log_p: Tensor) -> Tensor:
    """1 - p_d, without cancellation where p_d is near 1."""
    return -torch.expm1(log_p)


#: The legal values of ``MODEL.DA.*.LOSS``; a plug-in may add one. Each is a function of log p_d,
#: any shape, float32 or wider, and of ``gamma``, to losses of that shape.
DOMAIN_LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "least_squares": _least_squares,
    "bce": _cross_entropy,
    "focal": _focal,
}


def domain_loss(
    kind: str,
    logits: Tensor,
    domain: int | Tensor,
    *,
    gamma: float = 5.0,
    reduction: str = "mean",
) -> Tensor:
    """Loss of a domain discriminator.

    Args:
        kind: a key of :data:`DOMAIN_LOSSES`.
        logits (Tensor): shape (N, 1, *) or (N, D, *), see the head of the module.
        domain: the true domain of all N, or one per example as a long Tensor of shape (N,).
            Domain labels only (0 = source, 1 = target): a bool is refused, because ``True`` for
            "is source" would silently mean domain 1.
        gamma: focusing exponent of the focal loss, >= 0; 0 is cross-entropy.
        reduction: "mean" over examples and positions, "sum", or "none".

    Returns:
        Tensor: a scalar, or shape (N, *) for "none". The mean of nothing (N = 0) is 0 and still
        attached to ``logits``, so that a batch without regions trains on.

    Raises:
        ValueError: an unknown ``kind`` or ``reduction``, gamma < 0, or a domain out of range.
    """
    if kind not in DOMAIN_LOSSES:
        raise ValueError(f"unknown domain loss {kind!r}; choose one of {', '.join(DOMAIN_LOSSES)}")
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"unknown reduction {reduction!r}; choose mean, sum or none")
    if gamma < 0:
        raise ValueError(f"gamma of the focal loss must be >= 0, got {gamma}")

    loss = DOMAIN_LOSSES[kind](_log_probability_of(logits, domain), gamma)
    if reduction == "none":
        return loss
    if reduction == "sum" or loss.numel() == 0:
        return loss.sum()
    return loss.mean()


@torch.no_grad()
def domain_accuracy(logits: Tensor, domain: int | Tensor) -> Tensor:
    """Share of examples and positions whose true domain has the highest probability.

    For logging one domain at a time: 0.5 on both domains is a discriminator at chance, and
    (1, 0) one that calls everything source. A single logit of exactly 0 counts as source.

    Args:
        logits (Tensor): shape (N, 1, *) or (N, D, *).
        domain: as in :func:`domain_loss`.

    Returns:
        Tensor: scalar in [0, 1]; NaN for N = 0.
    """
    columns = _columns(logits.detach())
    return (columns.argmax(dim=1) == _labels(columns, domain)).float().mean()


def _columns(logits: Tensor) -> Tensor:
    """Shape (N, D, *) with D >= 2: a single logit z becomes the pair (0, z)."""
    if logits.dim() < 2:
        raise ValueError(
            f"domain logits have shape (N, 1, ...) or (N, D, ...), got {tuple(logits.shape)}"
        )
    logits = full_precision(logits)
    if logits.shape[1] > 1:
        return logits
    return torch.cat([torch.zeros_like(logits), logits], dim=1)


def _labels(columns: Tensor, domain: int | Tensor) -> Tensor:
    """The domain of each position, a long Tensor of shape (N, *)."""
    num_domains = columns.shape[1]
    shape = (columns.shape[0], *columns.shape[2:])
    if isinstance(domain, bool) or (isinstance(domain, Tensor) and domain.dtype == torch.bool):
        raise ValueError("domain must be a label (0 = source, 1 = target), not a bool")
    if isinstance(domain, Tensor):
        if domain.shape != shape[:1]:
            raise ValueError(
                f"{shape[0]} examples need domain labels of shape ({shape[0]},), "
                f"got {tuple(domain.shape)}"
            )
        inside = bool(((domain >= 0) & (domain < num_domains)).all())
        labels = domain.to(columns.device).view(-1, *([1] * (len(shape) - 1))).expand(shape)
    else:
        inside = 0 <= domain < num_domains
        labels = torch.full(shape, int(domain), dtype=torch.long, device=columns.device)
    if not inside:
        raise ValueError(f"domain labels {domain} do not fit a discriminator of {num_domains}")
    return labels


def _log_probability_of(logits: Tensor, domain: int | Tensor) -> Tensor:
    """log p_d of the true domain, shape (N, *)."""
    columns = _columns(logits)
    labels = _labels(columns, domain)
    return F.log_softmax(columns, dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
