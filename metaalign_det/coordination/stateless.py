"""Run a module at other parameter values and leave the state of the world alone.

Three kinds of state are touched by a forward pass besides its result: parameters (never, here),
BatchNorm running statistics, and random number generators.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


class _Method(nn.Module):
    """``functional_call`` calls ``forward`` only; this lets it call any method of ``module``."""

    def __init__(self, module: nn.Module, method: str) -> None:
        super().__init__()
        self.module = module
        self.method = method

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.module, self.method)(*args, **kwargs)


def call_at(
    module: nn.Module,
    params: Mapping[str, Tensor],
    method: str,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """``module.method(*args, **kwargs)`` with the named parameters replaced during the call.

    Args:
        module: left exactly as it was, also when the call raises. Must not be wrapped
            (DistributedDataParallel does not see gradients taken by ``autograd.grad``).
        params: parameter name as in ``module.named_parameters()`` -> value of the same shape;
            parameters not named keep their own value.
        method: name of the method.
    """
    substituted = {f"module.{name}": value for name, value in params.items()}
    return functional_call(_Method(module, method), substituted, args, kwargs)


@contextmanager
def frozen_batch_statistics(module: nn.Module) -> Iterator[None]:
    """Within it, BatchNorm layers in training mode normalise by the batch but track nothing.

    Layers in evaluation mode are never touched: without tracking they would start to use batch
    statistics. Momentum is set to zero as well for subclasses that update their buffers by hand.
    """
    layers = [
        m
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training and m.track_running_stats
    ]
    momenta = [m.momentum for m in layers]
    try:
        for m in layers:
            m.track_running_stats = False
            m.momentum = 0.0
        yield
    finally:
        for m, momentum in zip(layers, momenta):
            m.track_running_stats = True
            m.momentum = momentum


class RandomState:
    """The state of torch's generators (CPU, and every CUDA device in use) at one moment."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore(self) -> None:
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Within it the generators run again from this state; afterwards they are as before."""
        outer = RandomState()
        self.restore()
        try:
            yield
        finally:
            outer.restore()


class RandomStreams:
    """Random numbers that depend on seed, rank, step and purpose, and on nothing else.

    A pass inside ``streams("task")`` draws the same numbers whether or not, and however often,
    another pass ran before it, and the global generators are not consumed. A training that
    draws only from streams is resumed at step i without any stored generator state, and an
    objective that is evaluated twice in a step repeats its dropout masks and samples.

    Args:
        seed: any integer.
        rank: process index; ranks draw different numbers.
    """

    def __init__(self, seed: int, rank: int = 0) -> None:
        self.seed = seed
        self.rank = rank
        self.step = 0
        #: The micro-batch within the step, and whose pass it is: each draws its own numbers.
        self.part: int | str = 0

    @contextmanager
    def __call__(self, purpose: str) -> Iterator[None]:
        key = f"{self.seed}/{self.rank}/{self.step}/{self.part}/{purpose}"
        outer = RandomState()
        _seed(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=7).digest(), "big"))
        try:
            yield
        finally:
            outer.restore()


def _seed(number: int) -> None:
    """``torch.manual_seed`` of the generators in use.

    Torch's own formats the stack three times over where no accelerator is initialized, to say
    later who has seeded it: half a millisecond, several times a step.
    """
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)
