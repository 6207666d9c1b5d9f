"""Domains in: data sets by name, mappers, and the loader of several streams.

Importing this package registers the data sets it knows by name; nothing is read from disk.
"""

from __future__ import annotations

from detectron2.config import CfgNode

from .catalog.builtin import register_builtin
from .catalog.register import VocDomain, register_from_config, register_voc_domain
from .doctor.checks import DomainSummary, check_data
from .loader.build import AdaptationLoader, Stream, build_adaptation_train_loader, build_test_loader
from .loader.paired import PairedLoader
from .views.detection import SourceMapper, TargetMapper

__all__ = [
    "AdaptationLoader",
    "DomainSummary",
    "PairedLoader",
    "SourceMapper",
    "Stream",
    "TargetMapper",
    "VocDomain",
    "build_adaptation_train_loader",
    "build_test_loader",
    "check_data",
    "register_all",
    "register_builtin",
    "register_from_config",
    "register_voc_domain",
]


def register_all(cfg: CfgNode | None = None) -> None:
    """Register the data sets known by name and those of ``cfg.DATASETS.REGISTER``; idempotent."""
    register_builtin()
    if cfg is not None:
        register_from_config(cfg)


register_builtin()
