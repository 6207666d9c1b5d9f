"""One training step, whoever computes its gradients."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor

from ..adaptation.contract import AdaptableModel
from ..adaptation.joint import JointGradients
from ..adaptation.source import GradientSource
from ..adaptation.step import Batch, StepContext, split_batch
from ..coordination import (
    FlatAllReduce,
    NonFiniteLossError,
    RandomStreams,
    all_finite,
    keep_local,
)
from ..errors import UserError
from .scaler import LossScaler

logger = logging.getLogger(__name__)


class AdaptationLoop(SimpleTrainer):
    """Detectron2's ``SimpleTrainer`` with exchangeable gradients, for one process or several.

    The model is never wrapped in ``DistributedDataParallel``, which would not see gradients taken
    by ``autograd.grad``: gradients are averaged in one flat all-reduce, for plain joint training
    as for the lookahead. Random numbers come from streams that depend on seed, rank, iteration
    and purpose alone, so that a resumed run needs no generator state.

    Args:
        model: unwrapped.
        data_loader: yields batches as described in ``adaptation/contract.py``.
        optimizer: of all its parameters.
        seed: of the random streams.
        source: what computes the gradients; None = joint training.
        accumulation: micro-batches per step.
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
        source: GradientSource | None = None,
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
        self.gradient_source = source or JointGradients()
        self._peeked: list[Batch] = []

    def run_step(self) -> None:
        """One iteration: data, gradients, report, update."""
        assert self.model.training, "the model was left in evaluation mode"
        start = time.perf_counter()
        batch = self._peeked.pop() if self._peeked else next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        check_batch(batch)
        step = self.context(self.iter)
        for p in step.parameters.values():
            p.grad = None  # the last step's, before this one's take their place in memory
        try:
            result = self.gradient_source(step, split_batch(batch, self.accumulation))
            if self.scaler is None:
                _check_gradients(result.by_name)
        except FloatingPointError as error:  # or Detectron2's of boxes that are not finite
            raise NonFiniteLossError(
                f"at iteration {self.iter}: {error}. The weights before this step are unharmed and "
                "so is the last checkpoint; lower SOLVER.BASE_LR, or look at the data"
            ) from error
        for name, p in step.parameters.items():
            p.grad = result.by_name.get(name)
        self._write_metrics(result.losses, data_time)
        for name, value in result.metrics.items():
            get_event_storage().put_scalar(name, value, smoothing_hint=False)
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
        self.gradient_source.after_step(step, result.finite)

    def context(self, iteration: int) -> StepContext:
        """What a gradient source may know of the step of an iteration."""
        self.streams.step = iteration
        group = self.optimizer.param_groups[0]
        return StepContext(
            self.model,
            iteration,
            self.streams,
            learning_rate=group["lr"],
            lr_share=group["lr"] / (group.get("initial_lr") or group["lr"] or 1.0),
            autocast_dtype=self.autocast_dtype,
            loss_scale=None if self.scaler is None else self.scaler.scale,
            reduce=self.reduce,
        )

    def peek(self) -> Batch:
        """The next batch, which the next step will get all the same.

        Raises:
            UserError: the loader yields something else than named views.
        """
        if not self._peeked:
            self._peeked.append(next(self._data_loader_iter))
        check_batch(self._peeked[0])
        return self._peeked[0]

    def state_dict(self) -> dict:
        state = {
            **super().state_dict(),
            "seed": self.streams.seed,
            "gradient_source": self.gradient_source.state_dict(),
            "learning": self.gradient_source.learning.state_dict(),
        }
        if self.scaler is not None:
            state["scaler"] = self.scaler.state_dict()
        return state

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.streams.seed = state_dict["seed"]
        self.gradient_source.load_state_dict(state_dict.get("gradient_source", {}))
        self.gradient_source.learning.load_state_dict(state_dict.get("learning", {}))
        if self.scaler is not None and "scaler" in state_dict:
            self.scaler.load_state_dict(state_dict["scaler"])


def _check_gradients(by_name: dict[str, Tensor | None]) -> None:
    if not all_finite(by_name.values()):
        bad = [n for n, g in by_name.items() if not all_finite([g])]
        raise NonFiniteLossError(
            f"the gradient of {bad[0]} and {len(bad) - 1} other parameters became infinite or NaN"
        )


def check_batch(batch: object) -> None:
    """A step needs named views, not Detectron2's plain list of images.

    Raises:
        UserError: says how to pair a loader of the source with one of the target.
    """
    if not isinstance(batch, dict) or "source" not in batch and "source_strong" not in batch:
        kind = "a list of images" if isinstance(batch, list) else type(batch).__name__
        raise UserError(
            f"the training loader yields {kind}, but adaptation needs source and target images in "
            'every batch: {"source": [...], "target": [...]}. Pair two loaders with '
            "metaalign_det.data.PairedLoader(source_loader, target_loader), or use "
            "metaalign_det.data.build_adaptation_train_loader(cfg)"
        )


def broadcast_model(model: torch.nn.Module) -> None:
    """Give every process the parameters and buffers of the first, as DDP does at the start."""
    if comm.get_world_size() == 1:
        return
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            dist.broadcast(tensor, 0)
