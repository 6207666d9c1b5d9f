"""A new coordinator: alignment's gradient is made a fixed share as long as the task's.

``theta <- theta - eta (s |v| / |g| g + v)``, with g the alignment gradient, v the task gradient and
s the share. CONTRIBUTING.md walks through this file; in the package it would be
``metaalign_det/adaptation/balanced.py``, its node a function of ``metaalign_det/config/``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode
from torch import Tensor

from metaalign_det.adaptation.contract import AdaptableModel
from metaalign_det.adaptation.learning import Learning
from metaalign_det.adaptation.registry import GRADIENT_SOURCES
from metaalign_det.adaptation.source import GradientSource
from metaalign_det.adaptation.stage_groups import build_stage_groups
from metaalign_det.adaptation.step import Batch, Gradients, StepContext
from metaalign_det.coordination import Projection, StageGroups, Weighting
from metaalign_det.errors import UserError


def add_config(cfg: CfgNode) -> None:
    cfg.BALANCED = CfgNode()
    # Length of the alignment gradient relative to the task's, >= 0.
    cfg.BALANCED.SHARE = 0.5


class Balanced(Weighting):
    """Gramian of g and v -> ``(s |v| / |g|, 1)``.

    Args:
        share: s >= 0.
    """

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, gramian: Tensor) -> Tensor:
        g, v = gramian.diagonal().clamp(min=1e-30).sqrt()
        return torch.stack([self.share * v / g, torch.ones_like(v)])


class BalancedGradients(GradientSource):
    """See the module's docstring.

    Args:
        groups: the parameters that both objectives share.
        share: s >= 0.
        learning: what is learned; None = labelled source images alone.
    """

    def __init__(self, groups: StageGroups, share: float, learning: Learning | None = None) -> None:
        super().__init__(learning)
        if share < 0:
            raise UserError(f"BALANCED.SHARE must be >= 0, got {share}")
        self.projection = Projection(groups, Balanced(share))

    @classmethod
    def from_config(
        cls, cfg: CfgNode, model: AdaptableModel, learning: Learning
    ) -> BalancedGradients:
        return cls(build_stage_groups(cfg, model), cfg.BALANCED.SHARE, learning)

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        objectives = self.learning.objectives(step, batches)
        result = self.projection(
            objectives.task(),
            objectives.alignment(),
            dict(step.model.named_parameters()),
            reduce=step.reduce,
            loss_scale=step.loss_scale,
            telemetry=True,
        )
        metrics = {**self.learning.metrics(), **result.telemetry}
        return Gradients(result.gradients, result.losses, result.finite, metrics)


GRADIENT_SOURCES["balanced"] = BalancedGradients  # in the package: a line in adaptation/registry.py
