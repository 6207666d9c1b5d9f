"""Scores of a model that need no target label, to choose among checkpoints and settings by."""

from __future__ import annotations

from .collect import collect
from .inputs import Detections, Inputs, Mixtures, Predictions, merge
from .registry import DEFAULTS, VALIDATORS, get_validator
from .validator import Validator

__all__ = [
    "DEFAULTS",
    "VALIDATORS",
    "Detections",
    "Inputs",
    "Mixtures",
    "Predictions",
    "Validator",
    "collect",
    "get_validator",
    "merge",
]
