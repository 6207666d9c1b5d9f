"""Logging from inside a model, which may or may not be in a training loop."""

from __future__ import annotations

from collections.abc import Callable

from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor


def put_scalar(name: str, value: Callable[[], Tensor | float]) -> None:
    """Record ``value()`` in the open EventStorage; without one, do not even compute it."""
    if has_event_storage():
        get_event_storage().put_scalar(name, float(value()))
