"""The frozen first layers of a backbone, run once per step instead of once per pass.

A lookahead sees the source images at theta and at theta', and in exact mode with recomputation
once more. What comes before the first trainable layer (the stem; with ``FREEZE_AT`` 2 the first
stage as well, at the highest resolution of all) gives the same features every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

T = TypeVar("T")


class _Result(NamedTuple):
    input: Tensor  # kept alive, so that no other tensor can have its id
    output: Tensor
    version: int


class FrozenPrefix:
    """Remembers what frozen layers made of inputs that need no gradient, within :meth:`shared`.

    Which layers these are is looked at each time: children of the backbone whose parameters all
    are frozen and whose output is a function of their input alone. Nothing trainable is ever
    remembered, and outside of :meth:`shared` nothing at all.
    """

    def __init__(self) -> None:
        self._results: dict[tuple, _Result] = {}
        self._images: dict[tuple, tuple[list, Any]] | None = None

    @contextmanager
    def shared(self, backbone: nn.Module) -> Iterator[None]:
        """Within it, frozen layers run once for each list of images. Blocks must not be nested.

        Args:
            backbone: a Detectron2 backbone; of a feature pyramid, its bottom-up network counts.
        """
        bottom_up = getattr(backbone, "bottom_up", backbone)
        frozen = [layer for layer in bottom_up.children() if _is_constant(layer)]
        self._images = {}
        for layer in frozen:
            layer.forward = self._remembering(layer, layer.forward)
        try:
            yield
        finally:
            for layer in frozen:
                del layer.forward  # the class's own shows again
            self._results.clear()
            self._images = None

    def images(self, inputs: list[dict], preprocess: Callable[[list[dict]], T]) -> T:
        """``preprocess(inputs)``, the same object for the same images within :meth:`shared`."""
        if self._images is None:
            return preprocess(inputs)
        tensors = [x["image"] for x in inputs]  # kept alive, as in _Result
        key = tuple(map(id, tensors))
        if key not in self._images:
            self._images[key] = (tensors, preprocess(inputs))
        return self._images[key][1]

    def _remembering(self, layer: nn.Module, forward: Callable) -> Callable:
        def run(x: Any, *args: Any, **kwargs: Any) -> Any:
            if args or kwargs or not isinstance(x, Tensor) or x.requires_grad:
                return forward(x, *args, **kwargs)
            # Under autocast the same layer gives another type.
            key = (id(layer), id(x), torch.is_autocast_enabled(x.device.type))
            found = self._results.get(key)
            if found is not None and found.output._version == found.version:
                return found.output
            output = forward(x)
            if isinstance(output, Tensor):
                self._results[key] = _Result(x, output, output._version)
            return output

        return run


def _is_constant(layer: nn.Module) -> bool:
    """Whether the layer has parameters, all frozen, and neither state nor randomness."""
    parameters = list(layer.parameters())
    return (
        bool(parameters)
        and not any(p.requires_grad for p in parameters)
        and not any(m.training and isinstance(m, (_BatchNorm, _DropoutNd)) for m in layer.modules())
    )
