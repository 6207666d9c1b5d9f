"""What a run has left in its ``OUTPUT_DIR``, read without building anything."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...config_files import parse_yaml
from ...errors import UserError
from ...evaluation.label_free.outcome import read_outcome
from ...files import report_path
from ..metrics import Series, read_metrics

STUDENT, TEACHER = "student", "teacher"

#: Kinds of files in ``inference/`` that are lists, and what each of their rows has.
_ROWS = {
    "detections": {"image_id", "class", "bbox", "score"},
    "predictions": {"image_id", "label", "predicted", "score"},
}
#: First part of the names of scores, as the evaluators give them.
TASKS = ("voc", "classification", "bbox")
#: What a score is compared by, the first that the runs have.
MAIN_METRICS = ("voc/AP50_11pt", "classification/accuracy", "bbox/AP50")


Folders = Mapping[str, str | Path] | Iterable[str | Path | tuple[str, str | Path]]


class ScoreKey(NamedTuple):
    """A score: whose (student or teacher), on which data set, which."""

    role: str
    dataset: str
    metric: str


@dataclass(frozen=True)
class RunFiles:
    """One run as its files tell it.

    Args:
        folder: ``OUTPUT_DIR``.
        label: what the caller calls it; "" for what its files say.
        config: flat, key -> value, of ``config.yaml``.
        series: scalars over iterations, of ``metrics.json``; empty where only an evaluation ran.
        sweep: ``result.json`` of a sweep; empty without.
        selection: ``selection.json``: last, selected and oracle checkpoint; empty without.
        log: text of ``log.txt``; "" without.
    """

    folder: Path
    label: str
    config: Mapping[str, Any]
    series: Mapping[str, Series]
    sweep: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""

    @property
    def seed(self) -> int | None:
        """``SEED``; None for a run that drew its own."""
        seed = self.config.get("SEED", -1)
        return seed if seed >= 0 else None

    @property
    def max_iter(self) -> int:
        return self.config.get("SOLVER.MAX_ITER", 0)

    @property
    def tests(self) -> tuple[str, ...]:
        """``DATASETS.TEST``."""
        return tuple(self.config.get("DATASETS.TEST", ()))

    @property
    def iteration(self) -> int:
        """Iterations that have been done, according to the metrics."""
        last = max((int(steps[-1]) for steps, _ in self.series.values()), default=0)
        return min(last + 1, self.max_iter)

    @property
    def is_complete(self) -> bool:
        return not self.series or self.iteration >= self.max_iter

    @property
    def evaluated_at(self) -> int:
        """Iterations before the last evaluation in the metrics; those of all where there is none.

        The one at the end stands under ``SOLVER.MAX_ITER``, which training itself does not reach.
        """
        last = max((int(s[-1]) for s, _ in self.score_series.values()), default=self.max_iter)
        return min(last + 1, self.max_iter)

    @cached_property
    def score_series(self) -> dict[ScoreKey, Series]:
        """Scores over iterations, those of each evaluation."""
        found = {}
        for name, series in self.series.items():
            if key := parse_score_key(name, self.tests):
                found[key] = series
        return found

    @cached_property
    def scores(self) -> dict[ScoreKey, float]:
        """Scores of the last evaluation, in percent."""
        found = {key: float(values[-1]) for key, (_, values) in self.score_series.items()}
        return found or dict(self._evaluated())

    def _evaluated(self) -> Iterable[tuple[ScoreKey, float]]:
        for dataset in self.tests:
            for kind, task in (("voc", "voc"), ("confusion", "classification")):
                results = (self.inference(kind, dataset) or {}).get("results", {})
                for metric, value in results.items():
                    value = np.nan if value is None else float(value)
                    yield ScoreKey(STUDENT, dataset, f"{task}/{metric}"), value

    def inference(self, kind: str, dataset: str) -> Any:
        """A file that an evaluator wrote, ``inference/<dataset>/<kind>_<dataset>.json``.

        Returns:
            its content, which may be empty; None where there is no such file.

        Raises:
            UserError: it cannot be read, or is something else.
        """
        folder = self.folder / "inference" / dataset
        if not folder.is_dir():
            return None
        path = report_path(folder, kind, dataset, ".json")
        if not path.is_file():
            return None
        content = _read_json(path)
        keys = _ROWS.get(kind, set())
        rows = content if kind in _ROWS else [content]
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and row.keys() >= keys for row in rows
        ):
            raise UserError(f"{path} is not what an evaluation writes; remove it or evaluate again")
        return content


def parse_score_key(name: str, tests: Iterable[str]) -> ScoreKey | None:
    """Undo Detectron2's flattening, which names the data set only where there are several.

    Args:
        name: of a scalar in ``metrics.json``.
        tests: ``DATASETS.TEST``.

    Returns:
        ScoreKey: None if the scalar is no score.
    """
    tests = tuple(tests)
    role = STUDENT
    if f"/{name}".find("/teacher/") >= 0:
        role, name = TEACHER, f"/{name}".replace("/teacher/", "/", 1).lstrip("/")
    for dataset in tests:
        rests = [name.removeprefix(f"{dataset}/")] if name.startswith(f"{dataset}/") else []
        # The only data set may be called like a task.
        for rest in [*rests, name] if len(tests) == 1 else rests:
            if rest.partition("/")[0] in TASKS:
                return ScoreKey(role, dataset, rest)
    return None


def find_runs(folders: Folders) -> list[RunFiles]:
    """The runs that were asked for; of a folder that is none, those below it.

    A run that was evaluated once more, with the same settings to ``eval-1`` in its folder, is no
    further run of that seed, and what the runs of a sweep started from is none of its settings.
    Both count where they are asked for themselves.

    Args:
        folders: ``OUTPUT_DIR`` of each run, with a label as (label, folder) or as label ->
            folder, or folders of a sweep.

    Raises:
        UserError: a folder does not exist, or holds no run.
    """
    given = folders.items() if isinstance(folders, Mapping) else folders
    runs: dict[Path, RunFiles] = {}
    for label, folder in (x if isinstance(x, tuple) else ("", x) for x in given):
        folder = Path(folder)
        if not folder.is_dir():
            raise UserError(f"{folder} is no folder: pass the OUTPUT_DIR of a run")
        found = [folder] if _is_run(folder) else sorted(f.parent for f in folder.rglob(_CONFIG))
        found = [f for f in found if _is_run(f) and (f == folder or not _is_repetition(f))]
        if not found:
            raise UserError(
                f"{folder} holds no run, nor does a folder below it: a run has a {_CONFIG} and a "
                "metrics.json that is not empty, or (an evaluation alone) results below inference/"
            )
        for run in _without_pretraining([read_run(each, label) for each in found]):
            runs.setdefault(run.folder.resolve(), run)
    if not runs:
        raise UserError("a report needs at least one run")
    return list(runs.values())


def read_run(folder: Path, label: str = "") -> RunFiles:
    """Read one ``OUTPUT_DIR``.

    Raises:
        UserError: its files cannot be read.
    """
    log = folder / "log.txt"
    metrics = folder / "metrics.json"
    return RunFiles(
        folder,
        label,
        _read_config(folder / _CONFIG),
        read_metrics(metrics) if metrics.is_file() else {},
        _read_sweep(folder / "result.json"),
        _read_json(folder / "selection.json") if read_outcome(folder) else {},
        log.read_text(encoding="utf-8", errors="replace") if log.is_file() else "",
    )


_CONFIG = "config.yaml"
_DATASETS = ("DATASETS.TRAIN", "DATASETS.TARGET", "DATASETS.TEST")
# What is worked with; the other settings are shown as they are.
_KINDS: dict[str, type] = {"SEED": int, "SOLVER.MAX_ITER": int}
_KINDS |= dict.fromkeys((*_DATASETS, "DATASETS.REGISTER"), list)
_NAMES = {int: "a whole number", list: "a list"}


@cache
def default_config() -> dict[str, Any]:
    """Key -> value of this version's defaults, as a ``config.yaml`` would have them."""
    from ...config import load_cfg  # imported here: it imports Detectron2

    return dict(_flatten(parse_yaml(load_cfg().dump(), "the defaults")))


def _read_config(path: Path) -> dict[str, Any]:
    config = parse_yaml(path.read_bytes(), str(path))
    if not isinstance(config, dict):
        raise UserError(f"{path} is not the config of a run")
    flat = dict(_flatten(config))
    for key, kind in _KINDS.items():
        if not isinstance(flat.get(key, kind()), kind):
            raise UserError(f"{path}: {key} is {flat[key]!r:.60}, not {_NAMES[kind]}")
    for key in _DATASETS:
        if not all(isinstance(name, str) for name in flat.get(key, ())):
            raise UserError(f"{path}: {key} holds {flat[key]!r:.60}, not names")
    return flat


def _is_run(folder: Path) -> bool:
    if not (folder / _CONFIG).is_file():
        return False
    metrics = folder / "metrics.json"
    # Empty: a training before its first record. An evaluation alone has no such file.
    return metrics.stat().st_size > 0 if metrics.is_file() else (folder / "inference").is_dir()


def _is_repetition(folder: Path) -> bool:
    """Whether ``--eval-only --resume`` has evaluated a run once more, in the run's folder."""
    if not re.fullmatch(r"eval-\d+", folder.name) or not _is_run(folder.parent):
        return False
    settings = [_read_config(f / _CONFIG) | {"OUTPUT_DIR": ""} for f in (folder, folder.parent)]
    return settings[0] == settings[1]


def _without_pretraining(runs: list[RunFiles]) -> list[RunFiles]:
    """The runs of a sweep without those that others of them started from."""
    if not any(run.sweep.get("pretraining") for run in runs):
        return runs
    return [run for run in runs if run.sweep.get("method") != "pretraining"]


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _read_sweep(path: Path) -> dict[str, Any]:
    found = _read_json(path)
    names = (
        [found.get(key, "") for key in ("method", "variant")] if isinstance(found, dict) else [0]
    )
    if not all(isinstance(name, str) for name in names):
        raise UserError(f"{path} is not the result of a sweep's run; remove it or repeat the run")
    return found


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read: {error}; remove it or repeat the run") from error


# ---- what the log tells ---------------------------------------------------------------------
