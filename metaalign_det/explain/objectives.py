"""The two objectives of a training batch, their gradients and their second derivatives.

The one place where this room touches :mod:`metaalign_det.coordination`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from detectron2.utils.events import EventStorage
from torch import Tensor, nn

from ..adaptation.step import Batch, aligned_images, labelled_images
from ..coordination import (
    DoubleBackwardError,
    Objective,
    RandomStreams,
    call_at,
    evaluate,
    frozen_batch_statistics,
    is_under,
)
from ..coordination.second_order import second_order_term
from ..errors import UserError

#: Names of the objectives.
TASK, ALIGNMENT = "task", "alignment"

Vector = dict[str, Tensor]


class BatchObjectives:
    """Task and alignment of one batch as functions of the backbone's parameters.

    As in a training step: the model is in training mode, both objectives see the same images, the
    regions that are sampled for the task are kept for every later evaluation, and dropout repeats
    its masks. A teacher's lessons are left out. Nothing is tracked and nothing changes.

    Args:
        model: in training mode, with gradients wanted of what is trainable.
        batch: named views, as the run's loader gives them.
        seed: of the random streams.
        iteration: where schedules inside the model stand.
    """

    def __init__(self, model: nn.Module, batch: Batch, seed: int, iteration: int) -> None:
        self.model = model
        self.batch = batch
        self.iteration = iteration
        self.streams = RandomStreams(seed)
        own = dict(model.named_parameters())
        self.scope = [name for names in trainable_stages(model).values() for name in names]
        #: theta: the trainable parameters, by name.
        self.params: Vector = {n: p.detach() for n, p in own.items() if p.requires_grad}

    @contextmanager
    def open(self) -> Iterator[BatchObjectives]:
        """Within it, evaluations share their samples and random numbers."""
        before = self.model.random_streams
        self.model.random_streams = self.streams
        try:
            with ExitStack() as stack:
                stack.enter_context(EventStorage(self.iteration))
                stack.enter_context(frozen_batch_statistics(self.model))
                stack.enter_context(self.model.fixed_samples())
                yield self
        finally:
            self.model.random_streams = before

    def gradient(self, which: str, moved: Mapping[str, Tensor] | None = None) -> tuple:
        """Gradient over the backbone, and the objective's loss.

        Args:
            which: "task" or "alignment", the objective that the *features* minimize.
            moved: backbone parameters to evaluate at; default theta.

        Returns:
            tuple: name -> gradient (zeros where the objective does not reach), and a float.
        """
        params = self._params(moved)
        found = evaluate(self._objective(which), params, only=self.scope)
        loss = sum(float(v) for v in found.losses.values())
        return self._filled(found.gradients), loss

    def hessian_vector(self, which: str, vector: Mapping[str, Tensor]) -> Vector:
        """The objective's Hessian at theta over the backbone, times a vector over the backbone.

        Raises:
            UserError: an operator of the model cannot be differentiated twice.
        """
        params = self._params(None)
        objective = self._objective(which)
        kept = evaluate(objective, params, only=self.scope, create_graph=True, graph_for=self.scope)
        try:
            product = second_order_term(objective, params, kept, vector, self.scope)
        except DoubleBackwardError as error:
            raise UserError(f"{error} Or leave second derivatives out with --first-order") from None
        return self._filled({n: product.get(n) for n in self.scope})

    def _params(self, moved: Mapping[str, Tensor] | None) -> Vector:
        values = {**self.params, **(moved or {})}
        return {n: v.detach().requires_grad_(n in self.scope) for n, v in values.items()}

    def _objective(self, which: str) -> Objective:
        arguments = {
            TASK: ("task_losses", labelled_images(self.batch)),
            ALIGNMENT: ("alignment_terms", *aligned_images(self.batch)),
        }[which]
        return Objective((lambda params: call_at(self.model, params, *arguments),))

    def _filled(self, gradients: Mapping[str, Tensor | None]) -> Vector:
        return {
            n: torch.zeros_like(self.params[n]) if gradients[n] is None else gradients[n].detach()
            for n in self.scope
        }


def trainable_stages(model: nn.Module) -> dict[str, list[str]]:
    """Names of the trainable parameters of each stage group of the backbone that has some."""
    trainable = [n for n, p in model.named_parameters() if p.requires_grad]
    stages = {
        stage: [n for n in trainable if any(is_under(n, prefix) for prefix in prefixes)]
        for stage, prefixes in model.backbone_stages().items()
    }
    return {stage: names for stage, names in stages.items() if names}


def dot(a: Mapping[str, Tensor], b: Mapping[str, Tensor], names: list[str]) -> float:
    """Inner product over some parameters, summed in double precision."""
    return float(sum((a[n].double() * b[n].double()).sum() for n in names))


def norm(a: Mapping[str, Tensor], names: list[str]) -> float:
    """Euclidean norm over some parameters."""
    return dot(a, a, names) ** 0.5
