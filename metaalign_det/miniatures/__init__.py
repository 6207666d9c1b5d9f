"""The embedded default data: generated on this machine, nothing to download but two wheels."""

from __future__ import annotations

from .build import (
    ensure_mini_openmoji,
    ensure_mini_photo_large,
    ensure_mini_voc2watercolor,
)
from .splits import CLASSES, mini_splits

__all__ = [
    "CLASSES",
    "ensure_mini_openmoji",
    "ensure_mini_photo_large",
    "ensure_mini_voc2watercolor",
    "mini_splits",
]
