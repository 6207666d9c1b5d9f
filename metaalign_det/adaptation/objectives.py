"""The two objectives of a step: what is learned, and what is aligned, as functions of parameters.

Which pass tracks BatchNorm's running statistics is decided here, once for every coordinator:
what is tracked is what joint training tracks, at theta. The alignment pass, which sees both
domains, tracks the backbone's (and the discriminators'); the task's tracks those of what alone it
runs through, the heads; without alignment the task's tracks all. An objective that a coordinator
evaluates at other parameters only tracks nothing there, and :meth:`Objectives.track` runs it at
theta once more, without gradients, if it would have tracked anything. Where the backbone's
statistics are to be the target's, the alignment pass tracks those of the target in it, and
:meth:`Objectives.track_target` runs target images that are not aligned. docs/method.md, "Where
statistics are taken", says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from detectron2.utils.events import EventStorage, get_event_storage, has_event_storage
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..coordination import Objective, call_at, frozen_batch_statistics, is_under
from ..loss_term import LossTerm
from .step import Batch, StepContext, aligned_images, labelled_images
from .teacher import Lesson, Teacher


class Objectives:
    """Task and alignment objective of one step.

    Args:
        step: which step, of which model.
        batches: its micro-batches.
        teacher: what is learned of target images besides; None = nothing.
        align: False leaves the alignment out (burn-in).
        split: differentiate one domain at a time where the model's alignment is separable.
    """

    def __init__(
        self,
        step: StepContext,
        batches: Sequence[Batch],
        teacher: Teacher | None = None,
        *,
        align: bool = True,
        split: bool = True,
    ) -> None:
        self.step = step
        self.batches = list(batches)
        self.split = split
        self.aligned = [aligned_images(b) if align else ([], []) for b in self.batches]
        model = step.model
        if not model.aligns:
            self.aligned = [([], [])] * len(self.batches)
        elif model.alignment_needs_target:  # half of a comparison is no alignment
            self.aligned = [(s, t) if t else ([], []) for s, t in self.aligned]
        self.lessons: list[Lesson | None] = [None] * len(self.batches)
        if teacher is not None:
            self.lessons = teacher(step, batches)

    @property
    def aligns(self) -> bool:
        """Whether there is anything to align in this step."""
        return any(s or t for s, t in self.aligned)

    def task(self, *, track: bool = True, mixed: bool = True) -> Objective:
        """Supervised losses on labelled source images, and a teacher's on target images.

        Args:
            track: False where it is not evaluated at theta.
            mixed: False keeps it in full precision under autocast.
        """

        def evaluate(params: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
            self.step.streams.part = index
            images = labelled_images(self.batches[index])
            with self.task_pass(index, track, mixed):
                return call_at(self.step.model, params, "task_losses", images)

        def learn(params: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
            with self.task_pass(index, track, mixed):
                return self.lesson_losses(index, params)

        parts = []
        for index, lesson in enumerate(self.lessons):
            parts.append(partial(evaluate, index=index))
            if lesson is not None:
                parts.append(partial(learn, index=index))
        return Objective(parts, [1 / len(self.batches)] * len(parts))

    def alignment(self, *, track: bool = True, mixed: bool = True) -> Objective:
        """Alignment terms; no part at all for a micro-batch without anything to align."""

        def evaluate(
            params: Mapping[str, Tensor], index: int, source: list, target: list
        ) -> dict[str, LossTerm]:
            self.step.streams.part = index
            still = nullcontext() if track else frozen_batch_statistics(self.step.model)
            with self.step.autocast(mixed), still:
                return call_at(self.step.model, params, "alignment_terms", source, target)

        parts = []
        for index, (source, target) in enumerate(self.aligned):
            if not source and not target:
                continue
            separate = self.split and self.step.model.alignment_separable and source and target
            halves = [(source, []), ([], target)] if separate else [(source, target)]
            parts += [partial(evaluate, index=index, source=s, target=t) for s, t in halves]
        return Objective(parts, [1 / len(self.batches)] * len(parts))

    def lesson_losses(self, index: int, params: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the student loses of a teacher's lesson on one micro-batch; {} without one."""
        lesson = self.lessons[index]
        if lesson is None:
            return {}
        self.step.streams.part = f"{index}/student"
        with unreported():  # what a model records of its passes is recorded of the source's
            return lesson.losses(self.step.model, params)

    def track(self, *, task: bool = False, alignment: bool = False) -> None:
        """Track what an objective that is not evaluated at theta would have tracked there."""
        model = self.step.model
        layers = _tracking_layers(model)
        if task and self.aligns:
            shared = ("backbone", *model.discriminator_prefixes())
            layers = [n for n in layers if not any(is_under(n, prefix) for prefix in shared)]
        if not layers:
            return
        params = self.step.parameters
        with torch.no_grad(), unreported():
            for objective in ([self.task()] if task else []) + (
                [self.alignment()] if alignment else []
            ):
                for _, part in objective:
                    part(params)

    def track_target(self) -> None:
        """Track the statistics of target images that no alignment will see, if they are asked for.

        Without an alignment, during burn-in for one, no other pass tracks them: this one runs the
        backbone over their weak views (strong ones where there are no others) at theta, without
        gradients.
        """
        model = self.step.model
        if model.statistics != "target":
            return
        for index, batch in enumerate(self.batches):
            images = batch.get("target") or batch.get("target_strong", [])
            if not images or (model.alignment_needs_target and self.aligned[index][1]):
                continue
            self.step.streams.part = index
            with torch.no_grad(), unreported(), self.step.autocast(), model.backbone_pass("target"):
                model.backbone_features(images)

    @contextmanager
    def task_pass(self, index: int, track: bool = True, mixed: bool = True) -> Iterator[None]:
        """Context of a pass of the task over one micro-batch."""
        model = self.step.model
        elsewhere = any(self.aligned[index]) or model.statistics == "target"
        untracked_part = (model.backbone if elsewhere else None) if track else model
        still = nullcontext() if untracked_part is None else frozen_batch_statistics(untracked_part)
        with self.step.autocast(mixed), still:
            yield


@contextmanager
def unreported() -> Iterator[None]:
    """For passes that are not reported: a throw-away storage.

    It stands at the same iteration, which schedules inside models depend on.
    """
    if not has_event_storage():
        yield
        return
    with EventStorage(get_event_storage().iter):
        yield


@contextmanager
def untracked(model: nn.Module) -> Iterator[None]:
    """For passes that are neither reported nor at theta: BatchNorm tracks nothing either."""
    with unreported(), frozen_batch_statistics(model):
        yield


def _tracking_layers(model: nn.Module) -> list[str]:
    """Names of the layers that would update running statistics in a pass now."""
    return [
        name
        for name, m in model.named_modules()
        if isinstance(m, _BatchNorm) and m.training and m.track_running_stats
    ]
