"""Domains in: data sets by name, mappers, and the loader of several streams.

Importing this package registers the data sets it knows by name; nothing is read from disk.
"""

from __future__ import annotations

from detectron2.config import CfgNode

from .catalog.builtin import register_builtin
from .catalog.classes import run_classes
from .catalog.classification import register_image_folder, register_image_list
from .catalog.detection import (
    register_coco_domain,
    register_images,
    register_voc_domain,
    register_yolo_domain,
)
from .catalog.domain import Domain
from .catalog.register import register_from_config
from .doctor.startup import DomainSummary, check_data
from .loader.build import AdaptationLoader, Stream, build_adaptation_train_loader, build_test_loader
from .loader.paired import PairedLoader
from .views.detection import SourceMapper, TargetMapper
from .views.images import read_image

__all__ = [
    "AdaptationLoader",
    "Domain",
    "DomainSummary",
    "PairedLoader",
    "SourceMapper",
    "Stream",
    "TargetMapper",
    "build_adaptation_train_loader",
    "build_test_loader",
    "check_data",
    "read_image",
    "register_all",
    "register_builtin",
    "register_coco_domain",
    "register_from_config",
    "register_image_folder",
    "register_image_list",
    "register_images",
    "register_voc_domain",
    "register_yolo_domain",
    "run_classes",
]


def register_all(cfg: CfgNode | None = None) -> None:
    """Register the data sets known by name and those of ``cfg.DATASETS.REGISTER``; idempotent."""
    register_builtin()
    if cfg is not None:
        register_from_config(cfg)


register_builtin()
