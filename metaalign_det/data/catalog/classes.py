"""The one class list of a run, whatever its data sets call, order and leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from ...errors import BadImageError, UserError
from ..formats.class_names import ClassIndex, normalise, same_classes, shorten
from .domain import names_of
from .reading import left_out, read_data_set

#: Value of ``DATASETS.CLASSES``: the classes that all data sets of the run share.
INTERSECTION = "intersection"


def declared_classes(name: str) -> tuple[str, ...] | None:
    """Classes of a data set in the order of their numbers; None if none are known (yet)."""
    classes = MetadataCatalog.get(name).get("thing_classes", None)
    return None if classes is None else tuple(classes)


def classes_of(name: str, *, bad: list[BadImageError] | None = None) -> tuple[str, ...] | None:
    """The same, read from the data where the data set was registered without.

    Args:
        name: of the data set.
        bad: see :meth:`.reading.DataReader.read`.

    Returns:
        tuple[str, ...]: or None for data that declare none, as unlabelled ones.
    """
    if declared_classes(name) is None:
        read_data_set(name, labels=True, bad=bad)  # reading sets them
    return declared_classes(name)


def run_classes(cfg: CfgNode) -> tuple[str, ...] | None:
    """The classes of a run in the order of the model's outputs, by ``DATASETS.CLASSES``.

    Empty, all data sets must have the same classes: names are compared without regard to case,
    spaces, underscores and hyphens, and where the order differs, that of the first counts and the
    others are renumbered. ``"intersection"`` takes the classes that all have, a list exactly
    these; objects of other classes are dropped from training and test alike. The first is that
    named first in ``TRAIN``, ``TEST``, ``TARGET``; targets are not read for it, since their labels
    are nobody's business.

    Returns:
        tuple[str, ...]: or None where no data set declares any.

    Raises:
        UserError: class lists that do not go together, an illegal ``DATASETS.CLASSES``.
    """
    lists: dict[str, tuple[str, ...]] = {}
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        bad = None if name in cfg.DATASETS.TEST else left_out(cfg)
        if (names := classes_of(name, bad=bad)) is not None:
            lists[name] = names
    for name in cfg.DATASETS.TARGET:
        if (names := declared_classes(name)) is not None:
            lists.setdefault(name, names)
    return agree(lists, cfg.DATASETS.CLASSES)


def agree(
    lists: Mapping[str, Sequence[str]], wanted: str | Sequence[str] | None
) -> tuple[str, ...] | None:
    """One class list for several data sets.

    Args:
        lists: class names by data set, the one whose order counts first.
        wanted: None or "" (the same everywhere), "intersection", or the list itself.

    Raises:
        UserError: see :func:`run_classes`.
    """
    if wanted not in (None, "", INTERSECTION):
        if isinstance(wanted, str):
            raise UserError(
                f"DATASETS.CLASSES must be empty, {INTERSECTION!r} or a list, not {wanted!r}"
            )
        names = ClassIndex(names_of(wanted, "DATASETS.CLASSES")).names
        if not names:
            raise UserError(
                "DATASETS.CLASSES is a list without any name: name the classes to use, say "
                f"{INTERSECTION!r}, or leave it out, if all data sets have the same"
            )
        for dataset, theirs in lists.items():
            lacking = _without(names, theirs)
            if lacking:
                raise UserError(
                    f"DATASETS.CLASSES lists {shorten(lacking)}, which {dataset!r} lacks; "
                    f"{ClassIndex(theirs).describe(lacking[0])}"
                )
        return names
    if not lists:
        return None
    first, *others = lists
    names = tuple(lists[first])
    if wanted == INTERSECTION:
        for other in others:
            names = tuple(n for n in names if n not in _without(names, lists[other]))
        if not names:
            raise UserError(
                f"DATASETS.CLASSES {INTERSECTION!r}: {', '.join(lists)} have no class in common "
                f"({'; '.join(f'{name}: {shorten(of)}' for name, of in lists.items())}). Where a "
                "class has two names, CLASS_MAP renames one"
            )
        return names
    for other in others:
        if not same_classes(names, lists[other]):
            _refuse(first, names, other, lists[other])
    return names


def check_number(names: Sequence[str], key: str, number: int) -> None:
    """The model must have as many classes as the data.

    Args:
        names: of the run.
        key: config key that holds ``number``.

    Raises:
        UserError: names both numbers and the key.
    """
    if len(names) != number:
        raise UserError(
            f"{key} = {number}, but the data have {len(names)} classes ({shorten(names)}): set it "
            f"to {len(names)}"
        )


def renumbered(
    dicts: list[dict], own: Sequence[str] | None, classes: Sequence[str] | None
) -> list[dict]:
    """Dataset dicts with their classes numbered as in ``classes``; what is not there is dropped.

    Args:
        dicts: with ``annotations`` or ``label``. Not changed.
        own: class names of the data set.
        classes: class names of the run. Where either is None nothing is done.

    Returns:
        list[dict]: images without any object left stay; images whose ``label`` is dropped do not.
    """
    if own is None or classes is None or tuple(own) == tuple(classes):
        return dicts
    index = ClassIndex(classes)
    numbers = [index.find(name) for name in own]
    if numbers == list(range(len(classes))):
        return dicts
    kept = []
    for d in dicts:
        if "annotations" in d:
            annotations = [
                {**a, "category_id": numbers[a["category_id"]]}
                for a in d["annotations"]
                if numbers[a["category_id"]] is not None
            ]
            kept.append({**d, "annotations": annotations})
        elif "label" not in d:
            kept.append(d)
        elif numbers[d["label"]] is not None:
            kept.append({**d, "label": numbers[d["label"]]})
    return kept


def check_held_out(sources: Sequence[str], targets: Sequence[str]) -> None:
    """Check that no target domain is among the sources, under whatever split.

    In domain generalisation (PACS) the target is what is tested on. A domain that was trained on
    with labels says nothing about the unseen one.

    Args:
        sources: names of the labelled training data.
        targets: names of the target data: unlabelled in training, or only tested on.

    Raises:
        UserError: names the target and the source it coincides with.
    """
    by_domain = {_domain(s): s for s in sources}
    for target in targets:
        if _domain(target) in by_domain:
            raise UserError(
                f"the target {target} is among the sources, as {by_domain[_domain(target)]}: take "
                "it out of DATASETS.TRAIN, or choose another target"
            )


def _domain(dataset: str) -> str:
    return MetadataCatalog.get(dataset).get("domain") or dataset


def _without(names: Sequence[str], others: Sequence[str]) -> list[str]:
    """Those of ``names`` that are not among ``others``."""
    theirs = set(map(normalise, others))
    return [n for n in names if normalise(n) not in theirs]


def _refuse(first: str, names: Sequence[str], other: str, theirs: Sequence[str]) -> None:
    parts = [
        f"{dataset!r} lacks {shorten(lacking)}"
        for dataset, lacking in ((other, _without(names, theirs)), (first, _without(theirs, names)))
        if lacking
    ]
    raise UserError(
        f"{first!r} and {other!r} have different classes: {'; '.join(parts)}. Give both the same "
        "CLASSES (CLASS_MAP renames and merges, IGNORE drops), or set DATASETS.CLASSES to "
        f"{INTERSECTION!r} or to a list"
    )
