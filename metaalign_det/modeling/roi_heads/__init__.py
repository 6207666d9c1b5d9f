"""RoI heads that take context vectors; importing this package registers them."""

from __future__ import annotations

from .context import (
    ContextOutputLayers,
    ContextRes5ROIHeads,
    ContextStandardROIHeads,
    context_dim,
)

__all__ = [
    "ContextOutputLayers",
    "ContextRes5ROIHeads",
    "ContextStandardROIHeads",
    "context_dim",
]
