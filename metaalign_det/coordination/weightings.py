"""How much of each of two gradients to take, from their three inner products.

A weighting maps the Gramian ``[[<g,g>, <g,v>], [<g,v>, <v,v>]]`` of the alignment gradient g and
the task gradient v, Tensor (2, 2), to weights w, Tensor (2,); the update descends w_0 g + w_1 v.
All are scaled so that orthogonal gradients of equal length give (1, 1), which is joint training
(CAGrad 1 + c of it). docs/method.md compares them.

==========  =============================================================================
name        rule
==========  =============================================================================
pcgrad      project each onto the normal plane of the other if they conflict (Yu et al.,
            NeurIPS 2020); for two objectives equal to GH's projection
gradvac     rotate each until cos(g, v) reaches its running mean (Wang et al., ICLR 2021)
nash_mtl    the bargaining solution, G w = 1 / w (Navon et al., ICML 2022)
mgda        the shortest vector between g and v (Sener and Koltun, NeurIPS 2018), times 2
cagrad      the worst improvement, maximized near the mean (Liu et al., NeurIPS 2021), times 2;
            g + v where |g_w| is below 1e-4 (|g|^2 + |v|^2)^1/2: one is far shorter
upgrad      the mean of both projections onto the dual cone (Quinton and Rey, 2024), times 2
==========  =============================================================================

The last three are TorchJD's (MIT). The others are written out: PCGrad because it is short,
GradVac because its running mean must be in checkpoints, Nash-MTL because two objectives have it in
closed form, which an iteration of convex programs only approximates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_TINY = 1e-30


class Weighting:
    """Gramian of two gradients -> their weights. Stateless unless a subclass says otherwise."""

    def __call__(self, gramian: Tensor) -> Tensor:
        """
        Args:
            gramian (Tensor): shape (2, 2), of g and v in this order; neither is 0, where
                :class:`.Projection` adds them without asking.

        Returns:
            Tensor: shape (2,).
        """
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave."""


class PCGrad(Weighting):
    """If <g, v> < 0: g - <g,v> v / |v|^2 and v - <g,v> g / |g|^2, both from the old pair."""

    def __call__(self, gramian: Tensor) -> Tensor:
        a, b, c = gramian[0, 0], gramian[0, 1], gramian[1, 1]
        conflict = b.clamp(max=0.0)
        return torch.stack([1 - conflict / a.clamp(min=_TINY), 1 - conflict / c.clamp(min=_TINY)])


class GradVac(Weighting):
    """Raise cos(g, v) to its running mean phi wherever it is below it.

    ``g += |g| (phi sqrt(1 - cos^2) - cos sqrt(1 - phi^2)) / (|v| sqrt(1 - phi^2)) v``, the same for
    v with g, and then ``phi = (1 - beta) phi + beta cos``.

    Args:
        beta: share of the newest cosine in the running mean, in (0, 1].
    """

    def __init__(self, beta: float = 0.01) -> None:
        if not 0 < beta <= 1:
            raise ValueError(f"beta must be in (0, 1], got {beta}")
        self.beta = beta
        self.mean = 0.0

    def __call__(self, gramian: Tensor) -> Tensor:
        lengths = gramian.diagonal().clamp(min=_TINY).sqrt()
        cosine = float((gramian[0, 1] / lengths.prod()).clamp(-1.0, 1.0))
        phi = self.mean
        weights = torch.ones(2, dtype=gramian.dtype, device=gramian.device)
        if cosine < phi < 1.0:
            sine, wanted = (1 - cosine**2) ** 0.5, (1 - phi**2) ** 0.5
            turn = (phi * sine - cosine * wanted) / wanted
            # |v| / |g| of g is added to v, and |g| / |v| of v to g.
            weights = weights + turn * lengths.flip(0) / lengths
        self.mean = (1 - self.beta) * phi + self.beta * cosine
        return weights

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.mean = state["mean"]


class NashMTL(Weighting):
    """The bargaining solution of two players in closed form, G w = 1 / w, scaled to mean 1.

    w_0 = k / |g| and w_1 = k / |v| with k = (1 + cos)^-1/2 solve it; the scaling cancels k.
    """

    def __call__(self, gramian: Tensor) -> Tensor:
        weights = 1 / gramian.diagonal().clamp(min=_TINY).sqrt()
        return 2 * weights / weights.sum()


class TorchJD(Weighting):
    """A Gramian weighting of TorchJD that returns a mean of the gradients.

    Args:
        name: class in ``torchjd.aggregation``.
        options: its keyword arguments.
    """

    def __init__(self, name: str, **options: Any) -> None:
        try:
            from torchjd import aggregation

            self.weighting = getattr(aggregation, name)(**options)
        except ImportError as error:
            raise ValueError(
                "this coordinator needs TorchJD: pip install 'metaalign_det[coordinators]' "
                f"({error})"
            ) from error

    def __call__(self, gramian: Tensor) -> Tensor:
        # TorchJD takes gradients below an absolute length for none; weights have no scale.
        scaled = gramian.double() / gramian.double().trace()
        weights = 2 * self.weighting(scaled).to(gramian)
        # CAGrad's, where g_w is too short to have a direction: what is left is the mean.
        return weights if weights.any() else torch.ones_like(weights)


def _cagrad(c: float = 0.4) -> Weighting:
    if not 0 <= c < 1:
        raise ValueError(f"c must be in [0, 1), got {c}")
    return TorchJD("CAGradWeighting", c=c)


#: Name -> what builds it. CAGrad's c in [0, 1) is how far from the mean it may go.
WEIGHTINGS: dict[str, Callable[..., Weighting]] = {
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "nash_mtl": NashMTL,
    "mgda": lambda: TorchJD("MGDAWeighting"),
    "cagrad": _cagrad,
    "upgrad": lambda: TorchJD("UPGradWeighting"),
}
