"""Which test set shows the source, which the target: by its name, or as the user says."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from ...errors import UserError
from .groups import Group

SOURCE, TARGET, OTHER = "source", "target", "other"


def domain_of(dataset: str, sources: Iterable[str], targets: Iterable[str]) -> str:
    """The domain whose training data have the most similar name.

    ``mini_watercolor_test`` begins like the target ``mini_watercolor_train``, further than like
    the source ``mini_photo_train``. On a tie it is the target, which may be a part of the source
    in an oracle's training.

    Returns:
        str: "source", "target", or "other" where the names have nothing in common.
    """
    by_source = max((_shared(dataset, name) for name in sources), default=0)
    by_target = max((_shared(dataset, name) for name in targets), default=0)
    if not by_source and not by_target:
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
    tests = [name for name in names if "val" not in name.split("_")]
    return next(iter([*tests, *names]), "")


def _shared(a: str, b: str) -> int:
    """Length of what both names begin with, in whole words."""
    prefix = os.path.commonprefix([f"{a}_", f"{b}_"])
    return prefix.rfind("_") + 1
