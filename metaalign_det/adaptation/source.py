"""The contract of what computes a step's gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from .contract import AdaptableModel
from .learning import Learning
from .step import Batch, Gradients, StepContext


class GradientSource:
    """Turns micro-batches into gradients: one way for what is learned and aligned to share a step.

    Subclasses say how in :meth:`__call__`; whatever they keep from step to step is in their state.
    (The average of the weights is not: it is a model, and stands beside the model in checkpoints.)

    Args:
        learning: what is learned; None = labelled source images alone.
    """

    def __init__(self, learning: Learning | None = None) -> None:
        self.learning = learning or Learning()

    @classmethod
    def from_config(cls, cfg: CfgNode, model: AdaptableModel, learning: Learning) -> GradientSource:
        """The source that a config asks for.

        Raises:
            UserError: a value that does not exist or is out of range.
        """
        return cls(learning)

    def before_train(self, step: StepContext, batch: Batch) -> None:
        """Find out, on the batch that training starts with, what would fail later.

        Raises:
            UserError, DoubleBackwardError: the source cannot train this model.
        """

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        """Gradients of one step.

        Args:
            step: which one, of what.
            batches: micro-batches with the same share of every view.

        Raises:
            NonFiniteLossError: a loss is infinite or NaN.
        """
        raise NotImplementedError

    def after_step(self, step: StepContext, applied: bool) -> None:
        """Called once the optimizer has acted, or (``applied`` False) was kept from it."""
        self.learning.after_step(step, applied)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs; {} for a source without state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
