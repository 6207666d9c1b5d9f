"""What the names in ``cfg.DATASETS`` stand for."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import BadImageError, UserError
from ..views.detection import without_labels
from .classes import declared_classes, renumbered
from .domain import check_name
from .reading import read_data_set


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


def load_labelled(
    name: str,
    classes: Sequence[str] | None = None,
    *,
    bad: list[BadImageError] | None = None,
) -> list[dict]:
    """Dataset dicts with their annotations (``annotations`` or ``label``).

    Args:
        name: of a registered data set: of this package, of Detectron2, or of the user's own code.
        classes: number the classes as in this list, :func:`.classes.run_classes` of a run; other
            classes are dropped. None = as the data set numbers them.
        bad: images that are missing or damaged are left out and added to this list; None = the
            first of them is an error.

    Raises:
        UserError: unknown name, data missing or wrong, or data without labels.
    """
    require_registered(name)
    kind = domain_kind([name])
    dicts = read_data_set(name, labels=True, bad=bad)
    key = "label" if kind == "classification" else "annotations"
    if any(key not in d for d in dicts):
        raise UserError(
            f"data set {name!r} has no labels: it can be a target (DATASETS.TARGET), but neither a "
            f"source nor a test set. (What has an image-level 'label' needs evaluator_type "
            "'classification' in its metadata)"
        )
    return renumbered(dicts, declared_classes(name), classes)


def load_unlabelled(name: str, *, bad: list[BadImageError] | None = None) -> list[dict]:
    """Dataset dicts without any annotation, for a target.

    A registered function with a method ``without_labels`` (those of this package have it) does
    not even read them; from any other they are removed.

    Args:
        name, bad: as for :func:`load_labelled`.

    Raises:
        UserError: unknown name, or data missing.
    """
    require_registered(name)
    return [without_labels(d) for d in read_data_set(name, labels=False, bad=bad)]
