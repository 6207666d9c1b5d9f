"""Backbones that Detectron2 does not have; importing this package registers them."""

from __future__ import annotations

from .digits import DigitsNet, build_digits_backbone
from .efficientnet_lite import EfficientNetLite, build_efficientnet_lite_backbone
from .mini import build_mini_resnet_backbone
from .random_start import temper_random_weights
from .vgg import (
    VGG16,
    VGG16BoxHead,
    build_vgg16_backbone,
    convert_torchvision_vgg16,
    is_torchvision_vgg16,
)

__all__ = [
    "VGG16",
    "DigitsNet",
    "EfficientNetLite",
    "VGG16BoxHead",
    "build_digits_backbone",
    "build_efficientnet_lite_backbone",
    "build_mini_resnet_backbone",
    "build_vgg16_backbone",
    "convert_torchvision_vgg16",
    "is_torchvision_vgg16",
    "temper_random_weights",
]
