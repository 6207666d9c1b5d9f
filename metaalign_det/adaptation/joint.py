"""Joint training: both objectives in one sum, with gradient reversal, one backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from ..coordination import all_finite, check_finite
from .objectives import Objectives
from .source import GradientSource
from .step import Batch, Gradients, StepContext, labelled_images


class JointGradients(GradientSource):
    """The baseline of every coordinator: nothing is coordinated."""

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        return self.descend(step, self.learning.objectives(step, batches))

    def descend(self, step: StepContext, objectives: Objectives) -> Gradients:
        """Gradients of the sum of both objectives."""
        batches = objectives.batches
        params = {n: p for n, p in step.parameters.items() if p.requires_grad}
        scale = step.loss_scale or 1.0
        totals: dict[str, Tensor] = {}
        for index in range(len(batches)):
            for losses in self._passes(step, objectives, index):
                check_finite(losses)
                total: Any = sum(losses.values())
                (total * (scale / len(batches))).backward()
                for name, loss in losses.items():
                    share = loss.detach() / len(batches)
                    totals[name] = totals[name] + share if name in totals else share
        grads = step.reduce([(n, p.grad) for n, p in params.items()], params)
        by_name = dict(zip(params, grads))
        metrics = self.learning.metrics()
        if step.loss_scale is None:
            return Gradients(by_name, totals, metrics=metrics)
        by_name = {n: None if g is None else g / scale for n, g in by_name.items()}
        return Gradients(by_name, totals, all_finite(by_name.values()), metrics)

    def _passes(
        self, step: StepContext, objectives: Objectives, index: int
    ) -> Iterator[dict[str, Tensor]]:
        """Losses of the passes over one micro-batch, one graph at a time."""
        source, target = objectives.aligned[index]
        step.streams.part = index
        with step.autocast():
            if source or target:
                losses = step.model({"source": source, "target": target})
            else:
                losses = step.model(labelled_images(objectives.batches[index]))
        yield losses
        if objectives.lessons[index] is not None:
            with objectives.task_pass(index):
                losses = objectives.lesson_losses(index, step.parameters)
            yield losses
