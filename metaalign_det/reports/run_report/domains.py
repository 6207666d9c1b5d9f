"""Which test set shows the source, which the target: by its name, or as the user says."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from ...errors import UserError
from .groups import Group

SOURCE, TARGET, OTHER = "source", "target", "other"

_VALIDATION = {"val", "valid", "validation"}
_SPLIT = re.compile(r"(?<=.)_(train(val|ing)?|val(id|idation)?|test(ing)?)$")


def domain_of(dataset: str, sources: Iterable[str], targets: Iterable[str]) -> str:
    """The domain whose training data have the most similar name.

    Best is the same name, then the same but for the split: ``photos_test`` is of
    ``photos_train``, not of ``photos_night_train``. Else the longest common beginning counts:
    ``mini_watercolor_v2_test`` begins like the target ``mini_watercolor_train``, further than like
    the source ``mini_photo_train``; of two that are as long, the name that ends sooner. On a tie
    it is the target, which may be a part of the source in an oracle's training.

    Returns:
        str: "source", "target", or "other" where the names have nothing in common.
    """
    by_source = max((_likeness(dataset, name) for name in sources), default=_UNLIKE)
    by_target = max((_likeness(dataset, name) for name in targets), default=_UNLIKE)
    if max(by_source, by_target) <= _UNLIKE:
        return OTHER
    return TARGET if by_target >= by_source else SOURCE


def domains_of(groups: Sequence[Group]) -> dict[str, str]:
    """Test set -> domain, of all test sets of all runs; sources and targets are everybody's."""
    runs = [group.first for group in groups]
    sources = [name for run in runs for name in run.config.get("DATASETS.TRAIN", ())]
    targets = [name for run in runs for name in run.config.get("DATASETS.TARGET", ())]
    tests = dict.fromkeys(name for run in runs for name in run.tests)
    return {name: domain_of(name, sources, targets) for name in tests}


def choose_dataset(domains: dict[str, str], domain: str, asked: str = "") -> str:
    """The test set that stands for a domain: the first that is no validation set.

    Args:
        domains: of :func:`domains_of`.
        domain: "source" or "target".
        asked: the user's choice; "" for none.

    Returns:
        str: "" if the domain has none.

    Raises:
        UserError: no run has been tested on what was asked for.
    """
    if asked:
        if asked not in domains:
            raise UserError(
                f"--{domain} {asked}: no run has been tested on it; they were on "
                f"{', '.join(domains)}"
            )
        return asked
    names = [name for name, of in domains.items() if of == domain]
    tests = [name for name in names if not _VALIDATION.intersection(name.lower().split("_"))]
    return next(iter([*tests, *names]), "")


#: Same name, same but for the split, length of the common beginning, minus that of the rest.
_Likeness = tuple[bool, bool, int, int]
_UNLIKE: _Likeness = (False, False, 0, 0)


def _likeness(dataset: str, training: str) -> _Likeness:
    """How alike a test set's and a training set's name are; at most _UNLIKE if not at all."""
    a, b = (_SPLIT.sub("", name) for name in (dataset, training))
    prefix = os.path.commonprefix([f"{a}_", f"{b}_"])
    shared = prefix.rfind("_") + 1  # whole words
    return dataset == training, a == b, shared, shared - len(b)
