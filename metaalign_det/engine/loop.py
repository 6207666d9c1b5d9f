"""One training step, whoever computes its gradients."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor

from ..adaptation.contract import AdaptableModel
from ..coordination import (
    FlatAllReduce,
    NonFiniteLossError,
    RandomStreams,
    all_finite,
    check_finite,
    keep_local,
)
from .scaler import LossScaler

logger = logging.getLogger(__name__)

Batch = dict[str, list[dict]]


@dataclass(frozen=True)
class Gradients:
    """What a gradient source returns.

    Args:
        by_name: gradients of the model's parameters, unscaled and averaged over processes; None
            where a parameter was not reached.
        losses: to report, this process's own.
        finite: whether to apply them.
    """

    by_name: dict[str, Tensor | None]
    losses: dict[str, Tensor]
    finite: bool = True


class GradientSource(Protocol):
    """Computes a step's gradients; :class:`JointGradients` unless a hook installs another."""

    def __call__(self, loop: AdaptationLoop, batches: Sequence[Batch]) -> Gradients: ...


class AdaptationLoop(SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` with exchangeable gradients, for one process or several.

    The model is never wrapped in ``DistributedDataParallel``, which would not see gradients taken
    by ``autograd.grad``: gradients are averaged in one flat all-reduce, for plain joint training
    as for the lookahead. Random numbers come from streams that depend on seed, rank, iteration
    and purpose alone, so that a resumed run needs no generator state.

    Args:
        model: unwrapped.
        data_loader: yields batches as described in ``modeling/contract.py``.
        optimizer: of all its parameters.
        seed: of the random streams.
        accumulation: micro-batches a step.
        autocast: type for mixed precision, None = off.
        scaler: loss scaling, with float16.
    """

    def __init__(
        self,
        model: AdaptableModel,
        data_loader: Iterable[Batch] | None,
        optimizer: torch.optim.Optimizer,
        *,
        seed: int,
        accumulation: int = 1,
        autocast: torch.dtype | None = None,
        scaler: LossScaler | None = None,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.streams = RandomStreams(seed, comm.get_rank())
        model.random_streams = self.streams
        self.accumulation = accumulation
        self.autocast_dtype = autocast
        self.scaler = scaler
        self.reduce = FlatAllReduce() if comm.get_world_size() > 1 else keep_local
        self.gradient_source: GradientSource = JointGradients()

    def run_step(self) -> None:
        """One iteration: data, gradients, report, update."""
        assert self.model.training, "the model was left in evaluation mode"
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        self.streams.step = self.iter
        for p in self.model.parameters():
            p.grad = None  # the last step's, before this one's take their place in memory
        try:
            result = self.gradient_source(self, split_batch(batch, self.accumulation))
            if self.scaler is None:
                _check_gradients(result.by_name)
        except FloatingPointError as error:  # ours, or Detectron2's of boxes that are not finite
            raise NonFiniteLossError(
                f"at iteration {self.iter}: {error}. The weights before this step are unharmed and "
                "so is the last checkpoint; lower SOLVER.BASE_LR, or look at the data"
            ) from error
        for name, p in self.model.named_parameters():
            p.grad = result.by_name.get(name)
        self._write_metrics(result.losses, data_time)
        if self.scaler is not None:
            self.scaler.update(result.finite)
            if not result.finite:
                logger.info(
                    "iteration %d skipped: gradients overflowed; loss scale now %g",
                    self.iter,
                    self.scaler.scale,
                )
        if result.finite:
            self.optimizer.step()

    def autocast(self, enabled: bool = True) -> AbstractContextManager:
        """Mixed precision as configured, or none."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.model.device.type, self.autocast_dtype, enabled=enabled)

    @property
    def loss_scale(self) -> float | None:
        return None if self.scaler is None else self.scaler.scale

    def state_dict(self) -> dict:
        state = {**super().state_dict(), "seed": self.streams.seed}
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.streams.seed = state_dict["seed"]
        if self.scaler is not None and "scaler" in state_dict:
            self.scaler.load_state_dict(state_dict["scaler"])


class JointGradients:
    """The baseline: both objectives in one sum, with gradient reversal, one backward pass."""

    def __call__(self, loop: AdaptationLoop, batches: Sequence[Batch]) -> Gradients:
        params = {n: p for n, p in loop.model.named_parameters() if p.requires_grad}
        scale = loop.loss_scale or 1.0
        totals: dict[str, Tensor] = {}
        for index, batch in enumerate(batches):
            loop.streams.part = index
            with loop.autocast():
                losses = loop.model(batch)
            check_finite(losses)
            (sum(losses.values()) * (scale / len(batches))).backward()
            for name, loss in losses.items():
                share = loss.detach() / len(batches)
                totals[name] = totals[name] + share if name in totals else share
        grads = loop.reduce([(n, p.grad) for n, p in params.items()], params)
        by_name = dict(zip(params, grads))
        if loop.scaler is None:
            return Gradients(by_name, totals)
        by_name = {n: None if g is None else g / scale for n, g in by_name.items()}
        return Gradients(by_name, totals, finite=all_finite(by_name.values()))


def _check_gradients(by_name: dict[str, Tensor | None]) -> None:
    if not all_finite(by_name.values()):
        bad = [n for n, g in by_name.items() if not all_finite([g])]
        raise NonFiniteLossError(
            f"the gradient of {bad[0]} and {len(bad) - 1} other parameters became infinite or NaN"
        )


def split_batch(batch: Batch, parts: int) -> list[Batch]:
    """Micro-batches with the same share of every stream, so that each has weight 1/parts."""
    if parts == 1:
        return [batch]
    return [{k: items[i::parts] for k, items in batch.items()} for i in range(parts)]


def broadcast_model(model: torch.nn.Module) -> None:
    """Give every process the parameters and buffers of the first, as DDP does at the start."""
    if comm.get_world_size() == 1:
        return
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor, 0)
