"""The runs of a sweep: what each one is, where it lives and how far it has come."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..files import write_json
from .suites import Task

RESULT_FILE = "result.json"
_TAIL_BYTES = 16384  # of metrics.json: the last iteration, without reading megabytes


@dataclass(frozen=True)
class Run:
    """One training run.

    Args:
        method: row of the table, the name of the config file.
        variant: which of the method's settings, "" where there is only one.
        task: the data.
        seed: ``SEED``.
        config: config file.
        overrides: ``KEY VALUE`` pairs on top of it, without those that the sweep sets.
        folder: ``OUTPUT_DIR``.
        identity: hash of everything that determines the result.
        max_iter: iterations of a complete run.
        tests: ``DATASETS.TEST``.
        pretrain: run whose last checkpoint this one starts from.
        keeps_weights: its last checkpoint is a part of the result.
    """

    method: str
    variant: str
    task: Task
    seed: int
    config: Path
    overrides: tuple[str, ...]
    folder: Path
    identity: str
    max_iter: int
    tests: tuple[str, ...]
    pretrain: Run | None = field(default=None, compare=False)
    keeps_weights: bool = field(default=False, compare=False)

    def __str__(self) -> str:
        variant = f" ({self.variant})" if self.variant else ""
        return f"{self.method}{variant} {self.task.label} seed {self.seed}"

    @property
    def weights(self) -> Path:
        return self.folder / "model_final.pth"

    def arguments(self) -> list[str]:
        """Arguments of ``tools/train_net.py``; continues where there is a checkpoint."""
        args = ["--config-file", str(self.config)]
        args += ["--resume"] if has_checkpoint(self.folder) else []
        args += self.overrides
        if self.pretrain is not None:
            args += ["MODEL.WEIGHTS", str(self.pretrain.weights)]
        return [*args, "SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]


def has_checkpoint(folder: Path) -> bool:
    """Whether ``--resume`` would find one: the file that ``last_checkpoint`` names is there."""
    marker = folder / "last_checkpoint"
    if not marker.is_file():
        return False
    name = marker.read_text(encoding="utf-8").strip()
    return bool(name) and (folder / name).is_file()


def last_iteration(folder: Path) -> int:
    """Iterations done according to the end of ``metrics.json``; 0 before its first record."""
    return max((r["iteration"] for r in _records(folder / "metrics.json", _TAIL_BYTES)), default=0)


def read_scores(run: Run) -> dict[str, dict[str, float]] | None:
    """Scores of a complete run, data set -> metric -> percent; None while it is not complete."""
    path = run.folder / RESULT_FILE
    if not path.is_file() or (run.keeps_weights and not run.weights.is_file()):
        return None
    result = json.loads(path.read_text(encoding="utf-8"))
    if result["identity"] != run.identity:
        return None
    nan = float("nan")  # written as null
    return {
        name: {metric: nan if x is None else x for metric, x in scores.items()}
        for name, scores in result["scores"].items()
    }


def collect_scores(run: Run) -> bool:
    """Write the result file of a run whose final evaluation is there; whether it is complete.

    Read from ``metrics.json``: Detectron2 evaluates once more when training has come to its end,
    and writes that under an iteration which training itself does not reach. Reading it does not
    take the process that started the run, so a run that outlived its sweep counts.
    """
    if read_scores(run) is not None:
        return True
    scores: dict[str, dict[str, float]] = {}
    for record in _records(run.folder / "metrics.json"):
        if record["iteration"] >= run.max_iter:
            scores = _by_dataset(record, run.tests) or scores
    if not scores or (run.keeps_weights and not run.weights.is_file()):
        return False
    partial = run.folder / f".{RESULT_FILE}.partial"
    write_json(
        partial,
        {
            "identity": run.identity,
            "method": run.method,
            "variant": run.variant,
            "task": run.task.label,
            "seed": run.seed,
            "config": str(run.config),
            "overrides": list(run.overrides),
            "pretraining": None if run.pretrain is None else str(run.pretrain.folder),
            "datasets_root": os.environ.get("DETECTRON2_DATASETS", "datasets"),
            "iterations": run.max_iter,
            "scores": scores,
        },
    )
    os.replace(partial, run.folder / RESULT_FILE)
    return True


def _by_dataset(record: dict[str, Any], tests: Sequence[str]) -> dict[str, dict[str, float]]:
    """Undo Detectron2's flattening, which names the data set only where there are several."""
    found: dict[str, dict[str, float]] = {}
    for name in tests:
        prefix = f"{name}/" if len(tests) > 1 else ""
        scores = {
            key.removeprefix(prefix): value
            for key, value in record.items()
            if key.startswith(prefix) and "/" in key.removeprefix(prefix)
        }
        if scores:
            found[name] = scores
    return found


def _records(path: Path, tail: int = 0) -> list[dict[str, Any]]:
    """Records of a ``metrics.json``, or of its last ``tail`` bytes."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        if tail:
            file.seek(max(0, path.stat().st_size - tail))
        text = file.read().decode("utf-8", errors="replace")
    records = []
    for line in text.splitlines():
        try:
            # A killed run may leave half a record, and its successor writes on behind it.
            record = json.loads(line[max(0, line.rfind("{")) :])
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("iteration"), int):
            records.append(record)
    return records
