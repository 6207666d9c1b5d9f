"""Scores of detectors and classifiers, in Detectron2's evaluator protocol."""

from __future__ import annotations

from ..adaptation.adaptive_bn import adapt_batchnorm, adapted_batchnorm
from .classification import ClassificationEvaluator
from .voc import VOCDomainEvaluator

__all__ = [
    "ClassificationEvaluator",
    "VOCDomainEvaluator",
    "adapt_batchnorm",
    "adapted_batchnorm",
]
