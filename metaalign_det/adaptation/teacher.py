"""Teachers: an average of the student's weights, and what the student learns from it on target.

The teacher sees the weak view of a target image and the student the strong one; the teacher's
predictions are constants of the step.

References:
    Tarvainen and Valpola, Mean Teachers are Better Role Models, NeurIPS 2017.
    Li et al., Cross-Domain Adaptive Teacher for Object Detection, CVPR 2022 (hard pseudo-labels).
    Kay et al., Align and Distill, TMLR 2025 (soft distillation).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..coordination import call_at, check_choice
from ..errors import UserError
from .class_odds import ClassOdds
from .contract import AdaptableModel
from .step import Batch, StepContext, labelled_images

METHODS = ("hard", "soft")


class WeightAverage:
    """An exponential moving average of a model's weights: ``w <- d w + (1 - d) theta``.

    Parameters and floating-point buffers (BatchNorm's statistics) alike; other buffers are
    copied. It starts as a copy of the model, at the first update.

    Args:
        model: whose weights are averaged. The average is a model of its own, always in
            evaluation mode, without gradients.
        decay: d in [0, 1).
        start_iter: iteration up to which it stays a copy.
    """

    def __init__(self, model: nn.Module, decay: float, start_iter: int = 0) -> None:
        if not 0 <= decay < 1:
            raise UserError(f"EMA.DECAY must be in [0, 1), got {decay}")
        self.decay = decay
        self.start_iter = start_iter
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.started = False

    @torch.no_grad()
    def copy_from(self, model: nn.Module) -> None:
        """Start anew from the weights of ``model``."""
        self.model.load_state_dict(model.state_dict())
        self.started = True

    @torch.no_grad()
    def update(self, model: nn.Module, iteration: int) -> None:
        """Take in the weights of ``model`` after iteration ``iteration``."""
        if not self.started or iteration < self.start_iter:
            self.copy_from(model)
            return
        average, student = self.model.state_dict(), model.state_dict()
        # A tensor under two names (tied weights) moves once.
        names = {(v.data_ptr(), v.shape): k for k, v in average.items()}.values()
        floating = [k for k in names if average[k].is_floating_point()]
        torch._foreach_lerp_(
            [average[k] for k in floating], [student[k] for k in floating], 1 - self.decay
        )
        for name in set(names) - set(floating):
            average[name].copy_(student[name])

    def state_dict(self) -> dict[str, Any]:
        return {"model": self.model.state_dict(), "started": self.started}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.started = state["started"]


class Lesson(Protocol):
    """What a student learns from a teacher in one micro-batch."""

    def losses(self, model: AdaptableModel, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Losses of the student at ``params``, scalars by name, weighted."""


@dataclass(frozen=True)
class _Call:
    """Losses of a method of the student, renamed and weighted."""

    method: str
    arguments: tuple
    weight: float
    leave_out: tuple[str, ...] = ()

    def losses(self, model: AdaptableModel, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = call_at(model, params, self.method, *self.arguments)
        return {
            f"{name}_target": self.weight * loss
            for name, loss in found.items()
            if name not in self.leave_out
        }


@dataclass
class Teacher:
    """Gives the lessons of a step.

    Args:
        average: the teacher's weights.
        method: "hard": the teacher's predictions above ``threshold`` are labels of the student's
            images; "soft": the student matches the teacher's probabilities and boxes.
        threshold: in [0, 1].
        weight: >= 0, of the lessons' losses beside those on the source.
        box_losses: hard labels only: learn boxes as well as classes from them.
        start_iter: no lessons before it.
        class_odds: hard labels only: corrects the odds of its classes; None = as they are.
    """

    average: WeightAverage
    method: str = "hard"
    threshold: float = 0.8
    weight: float = 1.0
    box_losses: bool = True
    start_iter: int = 0
    class_odds: ClassOdds | None = None
    metrics: dict[str, float] = field(default_factory=dict, init=False)
    #: Labelled images of the last lessons, and the labels given in them.
    _given: tuple[list[dict], list[dict]] | None = field(default=None, init=False)

    #: Losses of boxes in Detectron2's detectors.
    BOX_LOSSES = ("loss_rpn_loc", "loss_box_reg")

    def __post_init__(self) -> None:
        try:
            check_choice("TEACHER.METHOD", self.method, METHODS)
        except ValueError as error:
            raise UserError(str(error)) from None
        if not 0 <= self.threshold <= 1:
            raise UserError(f"TEACHER.THRESHOLD must be in [0, 1], got {self.threshold}")
        if self.weight < 0:
            raise UserError(f"TEACHER.WEIGHT must be >= 0, got {self.weight}")
        if self.class_odds is not None and self.method != "hard":
            raise UserError(
                "TEACHER.CLASS_ODDS corrects hard labels: set TEACHER.METHOD 'hard', or "
                "TEACHER.CLASS_ODDS.ENABLED False"
            )

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> list[Lesson | None]:
        """A lesson for each micro-batch; None where there is nothing to learn.

        Raises:
            UserError: a batch without strong views of the target.
        """
        self.metrics = {}
        if step.iteration < self.start_iter:
            return [None] * len(batches)
        if not self.average.started:
            self.average.copy_from(step.model)
        lessons: list[Lesson | None] = []
        labels: list[dict] = []
        for index, batch in enumerate(batches):
            weak, strong = batch.get("target", []), batch.get("target_strong", [])
            if len(weak) != len(strong):
                raise UserError(
                    "a teacher needs a weak and a strong view of every target image: set "
                    "INPUT.VIEWS.TARGET to 'both'"
                )
            if not weak:
                lessons.append(None)
                continue
            step.streams.part = f"{index}/teacher"
            with torch.no_grad(), step.autocast(), step.streams("teacher"):
                if self.method == "hard":
                    found = self._labels(weak)
                    labels += found
                    lessons.append(self._hard(found, strong))
                else:
                    lessons.append(self._soft(weak, strong))
        if self.method == "hard":
            self.metrics = _counts(labels)
        if self.class_odds is not None:
            self._given = ([x for b in batches for x in labelled_images(b)], labels)
            self.metrics |= self.class_odds.metrics()
        return lessons

    def after_step(self) -> None:
        """Take in what was taught, once the optimizer has acted on it."""
        if self.class_odds is not None and self._given is not None:
            self.class_odds.see(*self._given)
        self._given = None

    def _labels(self, weak: list[dict]) -> list[dict]:
        model = self.average.model
        if self.class_odds is None:
            return model.pseudo_labels(weak, self.threshold)
        return model.pseudo_labels(weak, self.threshold, self.class_odds.log_odds)

    def _hard(self, labels: list[dict], strong: list[dict]) -> Lesson | None:
        taught = [{**image, **label} for image, label in zip(strong, labels) if label]
        if not taught:
            return None
        leave_out = () if self.box_losses else self.BOX_LOSSES
        # A mean over all images, of which those without a label give nothing.
        weight = self.weight * len(taught) / len(strong)
        return _Call("task_losses", (taught,), weight, leave_out)

    def _soft(self, weak: list[dict], strong: list[dict]) -> Lesson:
        targets = self.average.model.soft_targets(weak)
        arguments = (strong, self.average.model, targets, self.threshold)
        return _Call("distillation_losses", arguments, self.weight)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs beside the average; {} for a teacher without state."""
        return {} if self.class_odds is None else {"class_odds": self.class_odds.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if self.class_odds is not None and "class_odds" in state:
            self.class_odds.load_state_dict(state["class_odds"])


def _counts(labels: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """What was labelled in a step, to report.

    Args:
        labels: of every image, {} for one without any.
    """
    taught = [x for x in labels if x]
    count = sum(len(x["instances"]) if "instances" in x else 1 for x in taught)
    images = max(len(labels), 1)
    return {
        "teacher/images_with_labels": len(taught) / images,
        "teacher/labels_per_image": count / images,
    }
