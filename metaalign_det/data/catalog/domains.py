"""What the names in ``cfg.DATASETS`` stand for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError
from ..formats.paths import show
from ..views.detection import without_labels
from .classes import declared_classes, renumbered
from .domain import Domain, check_name
from .foreign import complete, with_sizes


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
        check_name(name)
        return
    near = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise UserError(
        f"there is no data set {name!r}.{hint} Your own are registered with the key "
        "DATASETS.REGISTER, or with metaalign_det.data.register_coco_domain and its like"
    )


def domain_kind(names: Sequence[str]) -> str:
    """Either "classification" or "detection", of data sets that go together.

    What is no classification has boxes. Images without any labels (``FORMAT: images``) go with
    either; by themselves they count as detection.

    Raises:
        UserError: an unknown name, or one kind mixed with the other.
    """
    kinds = {}
    for name in names:
        require_registered(name)
        kind = MetadataCatalog.get(name).get("evaluator_type", None)
        if kind != "images":
            kinds[name] = "classification" if kind == "classification" else "detection"
    if len(set(kinds.values())) > 1:
        raise UserError(f"images with boxes and images with classes do not go together: {kinds}")
    return next(iter(kinds.values()), "detection")


def load_labelled(name: str, classes: Sequence[str] | None = None) -> list[dict]:
    """Dataset dicts with their annotations (``annotations`` or ``label``).

    Args:
        name: of a registered data set: of this package, of Detectron2, or of the user's own code.
        classes: number the classes as in this list, :func:`.classes.run_classes` of a run; other
            classes are dropped. None = as the data set numbers them.

    Raises:
        UserError: unknown name, data missing or wrong, or data without labels.
    """
    require_registered(name)
    kind = domain_kind([name])
    dicts = _read(name, DatasetCatalog[name])
    if not _is_ours(name):
        dicts = complete(name, dicts, declared_classes(name))
    key = "label" if kind == "classification" else "annotations"
    if any(key not in d for d in dicts):
        raise UserError(
            f"data set {name!r} has no labels: it can be a target (DATASETS.TARGET), but neither a "
            f"source nor a test set. (What has an image-level 'label' needs evaluator_type "
            "'classification' in its metadata)"
        )
    if kind == "detection" and not _is_ours(name):
        dicts = with_sizes(dicts)
    return renumbered(dicts, declared_classes(name), classes)


def load_unlabelled(name: str) -> list[dict]:
    """Dataset dicts without any annotation, for a target.

    A registered function with a method ``without_labels`` (those of this package have it) does
    not even read them; from any other they are removed.

    Raises:
        UserError: unknown name, or data missing.
    """
    require_registered(name)
    function = DatasetCatalog[name]
    dicts = [without_labels(d) for d in _read(name, getattr(function, "without_labels", function))]
    if _is_ours(name):
        return dicts
    dicts = complete(name, dicts, None)
    return with_sizes(dicts) if domain_kind([name]) == "detection" else dicts


def _is_ours(name: str) -> bool:
    """Whether this package reads the data, and has checked them then."""
    return isinstance(DatasetCatalog[name], Domain)


def _read(name: str, function: Callable[[], list[dict]]) -> list[dict]:
    try:
        dicts = function()
    except FileNotFoundError as error:  # from data sets that Detectron2 registers
        raise UserError(f"data set {name!r}: {error.filename} does not exist") from error
    if not dicts:
        raise UserError(f"data set {name!r} has no images")
    if not isinstance(dicts, list) or not all(isinstance(d, dict) for d in dicts):
        raise UserError(
            f"data set {name!r}: its function must return a list of dicts, as Detectron2 defines "
            f"them, not {show(dicts)}"
        )
    return dicts
