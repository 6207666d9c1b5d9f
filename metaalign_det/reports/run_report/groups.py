"""Runs that differ only in their seed belong together; what the others differ in."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from .run_files import RunFiles, ScoreKey, default_config

# Keys that say where a run goes, what it keeps and how it is looked at, not what it learns: in a
# sweep too, the runs of one row may differ in them.
_NOT_SETTINGS = (
    "SEED",
    "OUTPUT_DIR",
    "LOGGING.",
    "VIS",
    "SOLVER.CHECKPOINT_",
    "DATALOADER.NUM_WORKERS",
)
_SEED_FOLDER = re.compile(r"seed[_-]?\d+(-[0-9a-f]+)?")


@dataclass(frozen=True)
class Group:
    """Runs of one setting.

    Args:
        label: what it is called in the report.
        runs: by seed; a run without one, or with one that another has, by its folder.
    """

    label: str
    runs: Mapping[Hashable, RunFiles]

    @property
    def first(self) -> RunFiles:
        return next(iter(self.runs.values()))

    def scores(self, key: ScoreKey) -> dict[Hashable, float]:
        """Seed -> score of the last evaluation, of the runs that have it."""
        return {s: run.scores[key] for s, run in self.runs.items() if key in run.scores}

    def __iter__(self) -> Iterator[RunFiles]:
        return iter(self.runs.values())


def group_runs(runs: Sequence[RunFiles]) -> list[Group]:
    """Put runs of the same settings together, in the order in which they were given."""
    by_settings: dict[tuple, list[RunFiles]] = {}
    for run in runs:
        by_settings.setdefault((run.label, _settings(run)), []).append(run)
    members = list(by_settings.values())
    groups = []
    for label, together in zip(_labels(members), members):
        keyed: dict[Hashable, RunFiles] = {}
        for run in together:
            free = run.seed is not None and run.seed not in keyed
            keyed[run.seed if free else str(run.folder)] = run
        if all(isinstance(seed, int) for seed in keyed):
            keyed = dict(sorted(keyed.items()))
        groups.append(Group(label, keyed))
    return groups


def put_first(groups: Sequence[Group], label: str) -> list[Group]:
    """The baseline before all others.

    Raises:
        UserError: there is no such label.
    """
    chosen = [g for g in groups if g.label == label]
    if not chosen:
        known = ", ".join(repr(g.label) for g in groups)
        raise UserError(f"--baseline {label!r} is none of {known}")
    return chosen + [g for g in groups if g.label != label]


def config_differences(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Key -> label -> value, of the keys whose values are not the same everywhere."""
    settings = {g.label: _comparable(g.first) for g in groups}
    keys = sorted({key for values in settings.values() for key in values})
    defaults = default_config()
    table = {
        key: {label: v.get(key, defaults.get(key)) for label, v in settings.items()} for key in keys
    }
    return {k: v for k, v in table.items() if len({repr(x) for x in v.values()}) > 1}


def _comparable(run: RunFiles) -> dict[str, Any]:
    """Settings that are not today's default, so that a key that is newer than a run is none."""
    defaults = default_config()
    values = {
        k: v
        for k, v in run.config.items()
        if not k.startswith(_NOT_SETTINGS) and not (k in defaults and defaults[k] == v)
    }
    weights = values.get("MODEL.WEIGHTS")
    if isinstance(weights, str):  # seeds that each start from a pretraining of their own
        values["MODEL.WEIGHTS"] = _SEED_FOLDER.sub("seed*", weights)
    return values


def _settings(run: RunFiles) -> str:
    return repr(sorted(_comparable(run).items()))


def _labels(members: Sequence[Sequence[RunFiles]]) -> list[str]:
    """What is given, or what a sweep calls them, or what tells their folders apart."""
    firsts = [runs[0] for runs in members]
    parts = [
        [p for p in run.folder.resolve().parts if not _SEED_FOLDER.fullmatch(p)] for run in firsts
    ]
    common = set.intersection(*map(set, parts))
    labels = []
    for run, own in zip(firsts, parts):
        short = [p for p in own if p not in common]
        label = run.label or _sweep_label(run) or "/".join(short) or own[-1]
        labels.append(label)
    for label in {x for x in labels if labels.count(x) > 1}:
        same = [i for i, x in enumerate(labels) if x == label]
        shared = set.intersection(*(set(parts[i]) for i in same))
        for i in same:
            if apart := [p for p in parts[i] if p not in shared]:
                labels[i] = f"{label} ({'/'.join(apart)})"
    for label in {x for x in labels if labels.count(x) > 1}:
        numbers = (i for i in range(1, len(labels) + 1))
        labels = [f"{x} ({next(numbers)})" if x == label else x for x in labels]
    return labels


def _sweep_label(run: RunFiles) -> str:
    method, variant = run.sweep.get("method", ""), run.sweep.get("variant", "")
    return f"{method} ({variant})" if variant else method
