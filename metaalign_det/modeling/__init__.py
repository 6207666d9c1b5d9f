"""Meta-architectures, backbones and RoI heads; importing this package registers them all."""

from __future__ import annotations

from ..adaptation.contract import AdaptableModel
from .backbone import VGG16, DigitsNet, VGG16BoxHead
from .meta_arch.da_classifier import DomainAdaptiveClassifier
from .meta_arch.sw_da_rcnn import SWDARCNN
from .roi_heads import ContextRes5ROIHeads, ContextStandardROIHeads

__all__ = [
    "SWDARCNN",
    "VGG16",
    "AdaptableModel",
    "ContextRes5ROIHeads",
    "ContextStandardROIHeads",
    "DigitsNet",
    "DomainAdaptiveClassifier",
    "VGG16BoxHead",
]
