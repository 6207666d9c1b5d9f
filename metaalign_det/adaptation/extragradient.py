"""Heun's extragradient in training: every step looks one learning rate ahead and averages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from detectron2.config import CfgNode

from ..coordination import Extragradient
from ..errors import UserError
from .contract import AdaptableModel
from .learning import Learning
from .objectives import untracked
from .source import GradientSource
from .step import Batch, Gradients, StepContext


class ExtragradientGradients(GradientSource):
    """Two points of the game of features against discriminators (:class:`.Extragradient`).

    Args:
        factor: length of the inner step relative to the learning rate, >= 0.
        learning: what is learned; None = labelled source images alone.
    """

    def __init__(self, factor: float = 1.0, learning: Learning | None = None) -> None:
        super().__init__(learning)
        if factor < 0:
            raise UserError(f"ADAPTATION.EXTRAGRADIENT_FACTOR must be >= 0, got {factor}")
        self.factor = factor
        self.extragradient = Extragradient()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, model: AdaptableModel, learning: Learning
    ) -> ExtragradientGradients:
        return cls(cfg.ADAPTATION.EXTRAGRADIENT_FACTOR, learning)

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        objectives = self.learning.objectives(step, batches)
        # Regions sampled at theta are constants of the step, at both points.
        with step.model.shared_prefix(), step.model.fixed_samples():
            result = self.extragradient(
                objectives.task(),
                objectives.alignment(),
                step.parameters,
                self.factor * step.learning_rate,
                reduce=step.reduce,
                loss_scale=step.loss_scale,
                replay=partial(untracked, step.model),
            )
        metrics = self.learning.metrics()
        return Gradients(result.gradients, result.losses, result.finite, metrics)
