"""What a step is given and what it returns, and which images of a batch are used for what."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from ..coordination import RandomStreams, Reducer, keep_local
from ..errors import UserError
from .contract import AdaptableModel

#: Named views of one step, or of one of its micro-batches; see :mod:`.contract`.
Batch = dict[str, list[dict]]


@dataclass(frozen=True)
class StepContext:
    """All that a gradient source may know of the step that it computes.

    Args:
        model: to be trained, in training mode, unwrapped.
        iteration: of the training, from 0.
        streams: random numbers by purpose; the source sets ``streams.part`` to the micro-batch.
        learning_rate: of the main parameters, now.
        lr_share: the same relative to its base value.
        autocast_dtype: of mixed precision; None = off.
        loss_scale: of float16; None = off.
        reduce: averages gradients over processes.
    """

    model: AdaptableModel
    iteration: int = 0
    streams: RandomStreams = field(default_factory=lambda: RandomStreams(0))
    learning_rate: float = 0.0
    lr_share: float = 1.0
    autocast_dtype: torch.dtype | None = None
    loss_scale: float | None = None
    reduce: Reducer = keep_local

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The model's parameters by name; looked up once a step."""
        return dict(self.model.named_parameters())

    def autocast(self, enabled: bool = True) -> AbstractContextManager:
        """Mixed precision as configured, or none."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.autocast_dtype, enabled=enabled)


@dataclass(frozen=True)
class Gradients:
    """What a gradient source returns.

    Args:
        by_name: gradients of the model's parameters, unscaled and averaged over processes, with a
            key for every parameter that is trained; None where it was not reached.
        losses: to report, this process's own.
        finite: whether to apply them.
        metrics: further numbers to report, by name.
    """

    by_name: dict[str, Tensor | None]
    losses: dict[str, Tensor]
    finite: bool = True
    metrics: Mapping[str, float] = field(default_factory=dict)


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Micro-batches with the same share of every view, so that each has weight 1/parts.

    Raises:
        UserError: a view cannot be split like that.
    """
    if parts == 1:
        return [batch]
    for view, images in batch.items():
        if len(images) % parts:
            raise UserError(
                f"a batch has {len(images)} images in {view!r}, which cannot be split over "
                f"SOLVER.ACCUMULATION_STEPS = {parts}; make it a multiple of {parts}"
            )
    return [{k: items[i::parts] for k, items in batch.items()} for i in range(parts)]


def labelled_images(batch: Batch) -> list[dict]:
    """The source images that the task learns from: both views where both are there."""
    if "source_strong" not in batch:
        return batch["source"]
    return [*batch.get("source", ()), *batch["source_strong"]]


def aligned_images(batch: Batch) -> tuple[list[dict], list[dict]]:
    """Source and target images of the alignment: of each domain the same views.

    The source's are those of the task. A discriminator that saw one domain strongly augmented and
    the other not would tell augmentations apart instead of domains.
    """
    source = labelled_images(batch)
    weak, strong = batch.get("target", []), batch.get("target_strong")
    if "source_strong" not in batch or strong is None:
        return source, weak
    return source, [*weak, *strong] if batch.get("source") else strong
