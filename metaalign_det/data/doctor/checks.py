"""What can be wrong with the data of a config, found before a model is built."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from tabulate import tabulate

from ...errors import UserError
from ..catalog.classes import check_held_out, check_number, declared_classes, run_classes
from ..catalog.domains import (
    domain_kind,
    load_labelled,
    load_unlabelled,
    source_domains,
)
from ..loader.build import batch_sizes

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainSummary:
    """One row of the table: a data set in one of its roles.

    Attributes:
        role: "source 0", ..., "target" or "test".
        name: of the data set.
        images: number of images.
        objects: number of boxes; None where they are not read or do not exist.
        classes: names, None where none are declared.
    """

    role: str
    name: str
    images: int
    objects: int | None
    classes: tuple[str, ...] | None


def check_data(cfg: CfgNode, *, train: bool = True, test: bool = True) -> list[DomainSummary]:
    """Read all data that a run will use and check that they fit each other and the model.

    Args:
        cfg: names in ``DATASETS.TRAIN``, ``TARGET`` and ``TEST``; numbers of classes.
        train: check source and target; False for a run that only evaluates.
        test: check the test sets.

    Returns:
        list[DomainSummary]: one a data set and role, also logged as a table.

    Raises:
        UserError: data missing or wrong, target images among the source's, class lists that
            differ, a number of classes in the model that is not the data's.
    """
    rows: list[DomainSummary] = []
    files: dict[str, set[str]] = {"source": set(), "target": set()}
    kind = domain_kind(_names(cfg, train, test))
    if train:
        domains = source_domains(cfg)
        check_held_out(cfg.DATASETS.TRAIN, cfg.DATASETS.TARGET)
        batch_sizes(cfg, len(domains))
        for number, names in enumerate(domains):
            for name in names:
                dicts = load_labelled(name)
                files["source"].update(d["file_name"] for d in dicts)
                rows.append(_summary(f"source {number}", name, dicts))
        if kind == "detection" and not any(row.objects for row in rows):
            raise UserError(f"DATASETS.TRAIN: no object in any of {', '.join(cfg.DATASETS.TRAIN)}")
        for name in cfg.DATASETS.TARGET:
            dicts = load_unlabelled(name)
            files["target"].update(d["file_name"] for d in dicts)
            rows.append(_summary("target", name, dicts))
        _check_disjoint(cfg, files)
    if test:
        rows += [_summary("test", name, load_labelled(name)) for name in cfg.DATASETS.TEST]
        _check_generalisation(cfg)
    classes = run_classes(cfg)
    if classes is None and kind == "classification":
        raise UserError(f"none of {', '.join(r.name for r in rows)} has class names: give CLASSES")
    if classes is not None:
        head = "CLASSIFIER" if kind == "classification" else "ROI_HEADS"
        check_number(classes, f"MODEL.{head}.NUM_CLASSES", cfg.MODEL[head].NUM_CLASSES)
    table = [
        (r.role, r.name, r.images, "" if r.objects is None else r.objects, len(r.classes or ()))
        for r in rows
    ]
    header = ("role", "data set", "images", "objects", "classes")
    logger.info("data of this run:\n%s", tabulate(table, header, tablefmt="pipe"))
    return rows


def _names(cfg: CfgNode, train: bool, test: bool) -> list[str]:
    names = [*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET] if train else []
    names += cfg.DATASETS.TEST if test else []
    if not names:
        keys = " and ".join(["DATASETS.TRAIN"] * train + ["DATASETS.TEST"] * test)
        raise UserError(f"{keys} name no data set")
    return names


def _summary(role: str, name: str, dicts: list[dict]) -> DomainSummary:
    objects = None
    if "annotations" in dicts[0]:
        objects = sum(len(d["annotations"]) for d in dicts)
    return DomainSummary(role, name, len(dicts), objects, declared_classes(name))


def _check_disjoint(cfg: CfgNode, files: dict[str, set[str]]) -> None:
    shared = files["source"] & files["target"]
    if shared:
        raise UserError(
            f"DATASETS.TARGET {tuple(cfg.DATASETS.TARGET)} and DATASETS.TRAIN "
            f"{tuple(cfg.DATASETS.TRAIN)} share {len(shared)} image(s), for one {min(shared)}: "
            "the target would be trained on with its labels. Take it out of one of them"
        )


def _check_generalisation(cfg: CfgNode) -> None:
    """Domain generalisation is measured on at least one domain that was not trained on."""
    if cfg.MODEL.ALIGN.BETWEEN != "sources":
        return
    sources = {_domain(name) for name in cfg.DATASETS.TRAIN}
    if cfg.DATASETS.TEST and all(_domain(name) in sources for name in cfg.DATASETS.TEST):
        check_held_out(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)


def _domain(name: str) -> str:
    return MetadataCatalog.get(name).get("domain", None) or name
