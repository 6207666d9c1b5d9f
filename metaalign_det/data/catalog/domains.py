"""What the names in ``cfg.DATASETS`` stand for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError
from ..views.detection import without_labels


def source_domains(cfg: CfgNode) -> list[list[str]]:
    """Names of ``DATASETS.TRAIN`` by source domain.

    Raises:
        UserError: no names, or ``DATASETS.TRAIN_DOMAINS`` does not number them 0, 1, ...
    """
    names, numbers = list(cfg.DATASETS.TRAIN), list(cfg.DATASETS.TRAIN_DOMAINS)
    if not names:
        raise UserError("DATASETS.TRAIN is empty: name at least one labelled source data set")
    if not numbers:
        return [names]
    if len(numbers) != len(names) or set(numbers) != set(range(len(set(numbers)))):
        raise UserError(
            f"DATASETS.TRAIN_DOMAINS = {tuple(numbers)} must give each of the {len(names)} names "
            "in DATASETS.TRAIN the number of its domain, counted from 0 without a gap"
        )
    return [
        [name for name, n in zip(names, numbers) if n == number]
        for number in range(len(set(numbers)))
    ]


def require_registered(name: str) -> None:
    """Do nothing if there is such a data set.

    Raises:
        UserError: there is none; similar names are suggested.
    """
    if name in DatasetCatalog:
        return
    near = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UserError(
        f"there is no data set {name!r}.{hint} Your own are registered with "
        "metaalign_det.data.register_voc_domain or the key DATASETS.REGISTER"
    )


def domain_kind(names: Sequence[str]) -> str:
    """Either "classification" or "detection", of data sets that go together.

    Raises:
        UserError: an unknown name, or one kind mixed with the other.
    """
    kinds = {}
    for name in names:
        require_registered(name)
        kind = MetadataCatalog.get(name).get("evaluator_type", None)
        kinds[name] = "classification" if kind == "classification" else "detection"
    if len(set(kinds.values())) > 1:
        raise UserError(f"images with boxes and images with classes do not go together: {kinds}")
    return next(iter(kinds.values()))


def class_names(name: str) -> tuple[str, ...] | None:
    """Classes of a data set in the order of their numbers; None if it declares none."""
    classes = MetadataCatalog.get(name).get("thing_classes", None)
    return None if classes is None else tuple(classes)


def load_labelled(name: str) -> list[dict]:
    """Dataset dicts with their annotations (``annotations`` or ``label``).

    Raises:
        UserError: unknown name, data missing, or data without labels.
    """
    require_registered(name)
    dicts = _read(name, DatasetCatalog[name])
    key = "label" if domain_kind([name]) == "classification" else "annotations"
    if any(key not in d for d in dicts):
        raise UserError(
            f"data set {name!r} has no labels: it can be a target (DATASETS.TARGET), but neither a "
            "source nor a test set"
        )
    return dicts


def load_unlabelled(name: str) -> list[dict]:
    """Dataset dicts without any annotation, for a target.

    A registered function with a method ``without_labels`` (those of this package have it) does
    not even read them; from any other they are removed.

    Raises:
        UserError: unknown name, or data missing.
    """
    require_registered(name)
    function = DatasetCatalog[name]
    dicts = _read(name, getattr(function, "without_labels", function))
    return [without_labels(d) for d in dicts]


def _read(name: str, function) -> list[dict]:
    try:
        dicts = function()
    except FileNotFoundError as error:  # from data sets that Detectron2 registers
        raise UserError(f"data set {name!r}: {error.filename} does not exist") from error
    if not dicts:
        raise UserError(f"data set {name!r} has no images")
    return dicts
