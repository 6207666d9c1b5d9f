"""Adaptive batch normalisation: the statistics of the target domain in place of the source's.

Reference: Li et al., Revisiting Batch Normalization for Practical Domain Adaptation, 2016.

No label and no training step is involved, only forward passes. Because it can explain most of
what an adaptation method seems to gain, it is a baseline of every comparison with trainable
BatchNorm.

fvcore's ``update_bn_stats`` computes the same statistics, and a test compares the two. It is not
used because it sets layers that the passes do not reach (a discriminator's) to mean 0 and
variance 0, lets every process end up with statistics of its own, and after an exception leaves
the layers changed.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from fvcore.nn.precise_bn import BN_MODULE_TYPES
from torch import Tensor, nn

from ..errors import UserError

logger = logging.getLogger(__name__)


class _Moments:
    """Count, sum and sum of squares per channel of whatever went into a layer, in float64."""

    def __init__(self, layer: nn.Module) -> None:
        self.total = torch.zeros(
            1 + 2 * layer.num_features, dtype=torch.float64, device=layer.running_mean.device
        )

    def see(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Forward pre-hook of ``layer``; its input has shape (N, C, ...)."""
        x = inputs[0].detach()
        n = x.numel() // x.shape[1]
        if n == 1:  # some layers would normalise by their old statistics then
            raise UserError(
                "a BatchNorm layer that sees one position of each image needs two images of a size "
                "at a time: give images of one size, or a batch size above 1"
            )
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(x, dim=[d for d in range(x.dim()) if d != 1], correction=0)
        mean, variance = mean.double(), variance.double()
        one = torch.ones(1, dtype=torch.float64, device=mean.device)
        self.total += n * torch.cat([one, mean, variance + mean.square()])

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean, square = (self.total[1:] / self.total[0]).chunk(2)
        return mean, (square - mean.square()).clamp(min=0.0)


def adapt_batchnorm(
    model: nn.Module,
    loader: Iterable[Any],
    num_batches: int,
    forward: Callable[[Any], Any],
) -> int:
    """Re-estimate the running statistics of the BatchNorm layers that ``forward`` goes through.

    Over all positions of all batches, each layer normalising with its batch's own statistics:
    ``mean = sum(x) / n`` and ``var = sum(x^2) / n - mean^2``, so that differences between batches
    of one or two images enter the variance. Everything else in the model (dropout included) is in
    evaluation mode meanwhile, and every module's mode is put back afterwards. With several
    processes, each looks at its own batches, and all end with the statistics of all of them; all
    must call this.

    Args:
        model: its layers are changed in place. ``FrozenBatchNorm2d`` and BatchNorm without
            running statistics are left alone.
        loader: batches of the target domain; labels are not needed.
        num_batches: how many of them to use; fewer are used if the loader ends.
        forward: runs the part of the model to adapt on one batch. A detector's training forward
            would need source data, so that this is usually
            ``lambda batch: model.backbone(model.preprocess_image(batch).tensor)``.

    Returns:
        int: the number of layers re-estimated. 0, with a line in the log, if there are none.

    Raises:
        UserError: if ``num_batches`` is not positive or the loader is empty; if a layer sees a
            single value per channel of a batch, which has no variance.
    """
    if num_batches < 1:
        raise UserError(f"re-estimating BatchNorm needs at least 1 batch, got {num_batches}")
    layers = tracking_layers(model)
    if not layers:
        logger.info(
            "No BatchNorm layer with running statistics (FrozenBN keeps those it was loaded "
            "with): there is nothing to re-estimate on target"
        )
        return 0
    moments = [_Moments(layer) for layer in layers]
    modes = {module: module.training for module in model.modules()}
    before = _statistics(layers)
    hooks = [layer.register_forward_pre_hook(m.see) for layer, m in zip(layers, moments)]
    seen = 0
    try:
        model.eval()
        for layer in layers:
            layer.training = True
        with torch.no_grad():
            for batch in itertools.islice(loader, num_batches):
                forward(batch)
                seen += 1
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes.items():
            module.training = mode
        _put_back(layers, before)  # the passes above have moved the running averages
    seen = _add_over_processes(moments, seen)
    if not seen:
        raise UserError("re-estimating BatchNorm: the target loader gave no batch")
    return _install(layers, moments, seen)


def _add_over_processes(moments: list[_Moments], seen: int) -> int:
    """Make every process hold the moments of all; the number of batches of all."""
    if comm.get_world_size() == 1:
        return seen
    totals = [m.total for m in moments]
    flat = torch.cat([*totals, totals[0].new_tensor([seen])])
    dist.all_reduce(flat)
    *parts, batches = flat.split([*map(len, totals), 1])
    for m, part in zip(moments, parts):
        m.total = part
    return int(batches)


def _install(layers: list[nn.Module], moments: list[_Moments], seen: int) -> int:
    reached = 0
    for layer, m in zip(layers, moments):
        if m.total[0] > 0:
            mean, variance = m.mean_and_variance()
            layer.running_mean.copy_(mean)
            layer.running_var.copy_(variance)
            reached += 1
    logger.info(
        "Re-estimated the statistics of %d of %d BatchNorm layers on %d target batches",
        reached,
        len(layers),
        seen,
    )
    return reached


@contextmanager
def adapted_batchnorm(
    model: nn.Module,
    loader: Iterable[Any],
    num_batches: int,
    forward: Callable[[Any], Any],
) -> Iterator[int]:
    """:func:`adapt_batchnorm` for the length of a ``with`` block; the old statistics come back.

    Yields:
        int: the number of layers re-estimated.
    """
    layers = tracking_layers(model)
    before = _statistics(layers)
    try:
        yield adapt_batchnorm(model, loader, num_batches, forward)
    finally:
        _put_back(layers, before)


def tracking_layers(model: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers that have running statistics, frozen ones apart."""
    return [
        m
        for m in model.modules()
        if isinstance(m, BN_MODULE_TYPES) and m.track_running_stats and m.running_mean is not None
    ]


def _statistics(layers: list[nn.Module]) -> list[dict[str, Tensor]]:
    return [{k: v.clone() for k, v in m.named_buffers(recurse=False)} for m in layers]


def _put_back(layers: list[nn.Module], statistics: list[dict[str, Tensor]]) -> None:
    for layer, saved in zip(layers, statistics):
        for name, buffer in layer.named_buffers(recurse=False):
            buffer.copy_(saved[name])
