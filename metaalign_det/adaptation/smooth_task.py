"""SDAT in training: the task's gradient is taken uphill, alignment's where the model stands."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from detectron2.config import CfgNode

from ..coordination import SmoothTask
from ..errors import UserError
from .contract import AdaptableModel
from .learning import Learning
from .objectives import untracked
from .source import GradientSource
from .step import Batch, Gradients, StepContext


class SmoothTaskGradients(GradientSource):
    """A task loss that is flat beside an alignment that is plain (:class:`.SmoothTask`).

    Args:
        rho: length of the ascent step, parameter units, >= 0.
        learning: what is learned; None = labelled source images alone.
    """

    def __init__(self, rho: float = 0.05, learning: Learning | None = None) -> None:
        super().__init__(learning)
        try:
            self.smooth = SmoothTask(rho)
        except ValueError as error:
            raise UserError(f"ADAPTATION.SDAT_RHO: {error}") from None

    @classmethod
    def from_config(
        cls, cfg: CfgNode, model: AdaptableModel, learning: Learning
    ) -> SmoothTaskGradients:
        return cls(cfg.ADAPTATION.SDAT_RHO, learning)

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        objectives = self.learning.objectives(step, batches)
        with step.model.shared_prefix(), step.model.fixed_samples():
            result = self.smooth(
                objectives.task(),
                objectives.alignment(),
                step.parameters,
                reduce=step.reduce,
                loss_scale=step.loss_scale,
                replay=partial(untracked, step.model),
            )
        metrics = self.learning.metrics()
        return Gradients(result.gradients, result.losses, result.finite, metrics)
