"""One training step, whoever computes its gradients."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

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
    as for the lookahead. Running statistics are the first process's (:func:`share_statistics`).
    Random numbers come from streams that depend on seed, rank, iteration and purpose alone, so
    that a resumed run needs no generator state.

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
        """One iteration: data, gradients, report, update.

        Of a step whose float16 gradients overflowed nothing is reported but that it was skipped: a
        source may have stopped before it knew every loss, and part of them is no mean's share.
        """
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
            _check_names(self.gradient_source, result.by_name, step.parameters)
            if self.scaler is None:
                _check_gradients(result.by_name)
        except FloatingPointError as error:  # or Detectron2's of boxes that are not finite
            raise NonFiniteLossError(
                f"at iteration {self.iter}: {error}. The weights before this step are unharmed and "
                "so is the last checkpoint; lower SOLVER.BASE_LR, or look at the data"
            ) from error
        for name, p in step.parameters.items():
            p.grad = result.by_name.get(name)  # a frozen one has none
        if self.scaler is not None:
            self.scaler.update(result.finite)
            if not result.finite:
                logger.info(
                    "iteration %d skipped: gradients overflowed; loss scale now %g",
                    self.iter,
                    self.scaler.scale,
                )
            storage = get_event_storage()
            storage.put_scalar("amp/skipped_steps", self.scaler.skipped, smoothing_hint=False)
            if self.scaler.stuck:
                raise NonFiniteLossError(
                    f"at iteration {self.iter}: gradients have overflowed float16 many times in a "
                    "row, in the end without loss scaling. The weights before these steps are "
                    "unharmed; lower SOLVER.BASE_LR, or take SOLVER.AMP.DTYPE bfloat16"
                )
        if result.finite:
            self._write_metrics(result.losses, data_time)
            for name, value in result.metrics.items():
                get_event_storage().put_scalar(name, value, smoothing_hint=False)
            self.optimizer.step()
        share_statistics(self.model)
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

    def _write_metrics(
        self,
        loss_dict: Mapping[str, Tensor],
        data_time: float,
        prefix: str = "",
        iter: int | None = None,
    ) -> None:
        iteration = self.iter if iter is None else iter
        if (iteration + 1) % self.gather_metric_period == 0:
            self.write_metrics(loss_dict, data_time, iteration, prefix)

    @staticmethod
    def write_metrics(
        loss_dict: Mapping[str, Tensor], data_time: float, cur_iter: int, prefix: str = ""
    ) -> None:
        """Detectron2's, for processes that do not all have the same losses.

        A process without a loss, such as a teacher's where no image got a label, counts as 0: what
        is recorded is the mean over processes, as gradients are.

        Raises:
            FloatingPointError: in the first process, if the sum is infinite or NaN.
        """
        storage = get_event_storage()
        storage.put_scalar("rank_data_time", data_time, cur_iter=cur_iter)
        everywhere = comm.gather(({k: v.item() for k, v in loss_dict.items()}, data_time))
        if not comm.is_main_process():
            return
        storage.put_scalar("data_time", max(t for _, t in everywhere), cur_iter=cur_iter)
        names = dict.fromkeys(name for losses, _ in everywhere for name in losses)
        means = {n: np.mean([losses.get(n, 0.0) for losses, _ in everywhere]) for n in names}
        total = sum(means.values())
        if not np.isfinite(total):
            raise FloatingPointError(
                f"Loss became infinite or NaN at iteration={cur_iter}!\nloss_dict = {means}"
            )
        storage.put_scalar(f"{prefix}total_loss", total, cur_iter=cur_iter)
        if len(means) > 1:
            storage.put_scalars(cur_iter=cur_iter, **means)

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


def _check_names(
    source: GradientSource, by_name: Mapping[str, Tensor | None], params: Mapping[str, Tensor]
) -> None:
    """A gradient that is left out, or named wrongly, would be a parameter that never learns."""
    missing = [n for n, p in params.items() if p.requires_grad and n not in by_name]
    unknown = [n for n in by_name if n not in params]
    if missing or unknown:
        raise ValueError(
            f"{type(source).__name__} must return a gradient, or None, for each trained parameter "
            f"by its name: {len(missing)} missing {missing[:3]}, {len(unknown)} unknown "
            f"{unknown[:3]}"
        )


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


def share_statistics(model: torch.nn.Module) -> None:
    """Give every process the running statistics of the first one's BatchNorm layers.

    Each has tracked those of its own images, but one checkpoint is saved: were they to stay apart,
    every process would evaluate, and a teacher in it predict, by statistics that a resumed run
    does not have. Layers in evaluation mode and other buffers are left alone.
    """
    if comm.get_world_size() == 1:
        return
    by_type: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and layer.training and layer.running_mean is not None:
            for tensor in (layer.running_mean, layer.running_var):
                by_type.setdefault((tensor.dtype, tensor.device), []).append(tensor)
    with torch.no_grad():
        for tensors in by_type.values():
            flat = torch.cat(tensors)
            dist.broadcast(flat, 0)
            torch._foreach_copy_(tensors, flat.split([len(t) for t in tensors]))
