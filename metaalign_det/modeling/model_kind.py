"""Whether a config's model classifies whole images or finds objects, told without building it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN, ProposalNetwork
from detectron2.modeling.meta_arch.dense_detector import DenseDetector

from ..config.plugins import VARIABLE
from ..config_files import did_you_mean
from ..data.catalog.register import FORMATS
from ..errors import UserError
from .meta_arch.da_classifier import DomainAdaptiveClassifier

_DETECTORS = (GeneralizedRCNN, ProposalNetwork, DenseDetector)


def is_classifier(cfg: CfgNode) -> bool:
    """Whether the model of a config classifies images, under whatever name it is registered.

    A subclass of this package's classifier does, one of Detectron2's detectors does not. A model
    written from scratch does what its data ask for: the first of ``DATASETS`` whose kind is known,
    by ``DATASETS.REGISTER`` or because it is registered here, none of which need be on disk. Where
    none is, the model counts as a detector.

    Raises:
        UserError: no model is registered under that name.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in META_ARCH_REGISTRY:
        hint = did_you_mean(name, [known for known, _ in META_ARCH_REGISTRY])
        raise UserError(
            f"MODEL.META_ARCHITECTURE {name!r} is not registered{hint} (a plug-in's is where "
            f"{VARIABLE} names its module)"
        )
    made = META_ARCH_REGISTRY.get(name)
    if isinstance(made, type) and issubclass(made, (DomainAdaptiveClassifier, *_DETECTORS)):
        return issubclass(made, DomainAdaptiveClassifier)
    return next(_kinds_of_data(cfg), "detection") == "classification"


def _kinds_of_data(cfg: CfgNode) -> Iterator[str]:
    entries = cfg.DATASETS.REGISTER
    formats = {
        str(entry.get("NAME")): str(entry.get("FORMAT"))
        for entry in (entries if isinstance(entries, list | tuple) else ())
        if isinstance(entry, Mapping)
    }
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET, *cfg.DATASETS.TEST):
        if formats.get(name) in FORMATS:
            kind = FORMATS[formats[name]].kind
        elif name in DatasetCatalog:
            kind = MetadataCatalog.get(name).get("evaluator_type", None)
        else:
            continue
        if kind != "images":  # no labels: a target for either
            yield kind
