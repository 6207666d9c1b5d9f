"""Scores of detectors and classifiers, in Detectron2's evaluator protocol."""

from __future__ import annotations

from ..adaptation.adaptive_bn import adapt_batchnorm, adapted_batchnorm
from .build import build_evaluator
from .classification import ClassificationEvaluator
from .detection import DetectionEvaluator

__all__ = [
    "ClassificationEvaluator",
    "DetectionEvaluator",
    "adapt_batchnorm",
    "adapted_batchnorm",
    "build_evaluator",
]
