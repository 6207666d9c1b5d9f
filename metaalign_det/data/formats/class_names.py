"""Class and domain names as the identity of classes and domains, however they are spelled."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError

_SHOWN = 12  # class names listed in one message


def normalise(name: str) -> str:
    """The spelling by which names are compared: ``Real World``, ``Real_World`` -> ``realworld``."""
    return re.sub(r"[\s_\-]+", "", name).casefold()


class ClassIndex:
    """From any spelling of a class name to its index.

    Args:
        names: class names in the order of their indices.

    Raises:
        UserError: two names differ in spelling only.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._index: dict[str, int] = {}
        for i, name in enumerate(self.names):
            first = self._index.setdefault(normalise(name), i)
            if first != i:
                raise UserError(f"class {self.names[first]!r} is listed twice, again as {name!r}")

    def find(self, name: str) -> int | None:
        """Index of a class, or None for a name that is not among them."""
        return self._index.get(normalise(name))

    def describe(self, unknown: str) -> str:
        """The class list in short, with the most similar name, for messages."""
        close = difflib.get_close_matches(normalise(unknown), self._index, n=1)
        hint = f"; did you mean {self.names[self._index[close[0]]]!r}?" if close else ""
        return f"the {len(self.names)} classes are {shorten(self.names)}{hint}"


def shorten(names: Sequence[str]) -> str:
    """Names joined by commas, the rest counted where there are many."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def classes_of(dataset: str) -> tuple[str, ...] | None:
    """Class names of a registered data set; read from the data where it was registered without.

    Args:
        dataset: its name in Detectron2's catalogs.

    Returns:
        tuple[str, ...]: or None for unlabelled data that declare none.
    """
    if MetadataCatalog.get(dataset).get("thing_classes") is None:
        DatasetCatalog.get(dataset)  # reading it sets them
    names = MetadataCatalog.get(dataset).get("thing_classes")
    return None if names is None else tuple(names)


def check_classes(datasets: Sequence[str], num_classes: int) -> tuple[str, ...]:
    """Check that all data sets of a run have the classes of the model, in the same order.

    Args:
        datasets: names of all data sets of the run: sources, targets and tests. Unlabelled ones
            without class names cannot be checked and are passed over.
        num_classes: ``MODEL.CLASSIFIER.NUM_CLASSES``.

    Returns:
        tuple[str, ...]: the class names.

    Raises:
        UserError: the number of classes is another one, or a class is missing in one of the data
            sets, or their orders differ.
    """
    declared = {name: names for name in datasets if (names := classes_of(name)) is not None}
    if not declared:
        raise UserError(f"none of {', '.join(datasets)} has class names: give CLASSES")
    first, *others = declared
    names = declared[first]
    keys = [normalise(n) for n in names]
    for other in others:
        theirs = declared[other]
        their_keys = [normalise(n) for n in theirs]
        if keys == their_keys:
            continue
        only_first = [n for n, key in zip(names, keys) if key not in their_keys]
        only_other = [n for n, key in zip(theirs, their_keys) if key not in keys]
        if not only_first and not only_other:
            raise UserError(
                f"{first} and {other} list the same classes in different orders: register both "
                "with the same CLASSES"
            )
        differences = [
            f"{shorten(only)} only in {dataset}"
            for only, dataset in ((only_first, first), (only_other, other))
            if only
        ]
        raise UserError(f"{first} and {other} differ in their classes: {'; '.join(differences)}")
    if len(names) != num_classes:
        raise UserError(
            f"{first} has {len(names)} classes ({shorten(names)}), but "
            f"MODEL.CLASSIFIER.NUM_CLASSES is {num_classes}: set it to {len(names)}"
        )
    return names


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
