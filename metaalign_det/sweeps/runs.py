"""The runs of a sweep: what each one is, where it lives and how far it has come."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..engine.checkpoint_files import KEPT_NAMES
from ..errors import UserError
from ..files import write_json
from ..reports.metrics import by_dataset, read_records
from ..roots import datasets_root
from .suites import Task

logger = logging.getLogger(__name__)

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
        # Without a checkpoint there is nothing to lose: what else is there is of a failed attempt.
        args += ["--resume"] if has_checkpoint(self.folder) else ["--overwrite"]
        args += self.overrides
        if self.pretrain is not None:
            args += ["MODEL.WEIGHTS", str(self.pretrain.weights)]
        return [*args, "SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]


def has_checkpoint(folder: Path) -> bool:
    """Whether ``--resume`` has something to choose from; weights that were selected are not.

    A link counts: what it leads to is not for ``--overwrite`` to decide on.
    """
    files = (f for f in folder.glob("*.pth") if f.is_file() or f.is_symlink())
    return any(file.name not in KEPT_NAMES for file in files)


def last_iteration(folder: Path) -> int:
    """Iterations done according to the end of ``metrics.json``; 0 before its first record."""
    path = folder / "metrics.json"
    # An evaluation of many classes is one record, and may be longer than the tail.
    records = read_records(path, _TAIL_BYTES) or read_records(path, sys.maxsize)
    return max((r["iteration"] for r in records), default=0)


def read_scores(run: Run) -> dict[str, dict[str, float]] | None:
    """Scores of a complete run, data set -> metric -> percent; None while it is not complete.

    A result file that is damaged counts as none: it is collected anew from ``metrics.json``, or
    the run is run again.
    """
    path = run.folder / RESULT_FILE
    if not path.is_file() or (run.keeps_weights and not run.weights.is_file()):
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        scores = _checked_scores(result["scores"])
        identity = result["identity"]
    # Whatever is wrong with it, it is not what collect_scores writes.
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        logger.warning("%s is damaged (%s) and made anew", path, type(error).__name__)
        return None
    return scores if identity == run.identity else None


def _of_other_settings(run: Run) -> Path | None:
    """The result of the same method, task and seed with other settings, if there is one."""
    name = run.folder.name.partition("-")[0]
    results = run.folder.parent.glob(f"{name}-*/{RESULT_FILE}")
    return next((path for path in results if path.parent != run.folder), None)


def check_made_by(runs: Sequence[Run], output: str | Path) -> None:
    """No table of nothing over one of results, because the command was another one.

    Raises:
        UserError: there are results, but none is of these settings.
    """
    if any(read_scores(run) for run in runs):
        return
    others = [path for run in runs if (path := _of_other_settings(run))]
    if others:
        raise UserError(
            f"--table-only: {output} has no run with these settings, but {len(others)} with "
            f"others ({others[0]} says which). Give the command they were started with, "
            "--launcher, --slurm and the pairs after -- included; no table was written"
        )


def _checked_scores(scores: Any) -> dict[str, dict[str, float]]:
    """The scores of a result file as numbers; null is NaN.

    Raises:
        TypeError, ValueError: it is not data set -> metric -> number.
    """
    if not isinstance(scores, dict) or not all(isinstance(x, dict) for x in scores.values()):
        raise TypeError("scores are not grouped by data set")
    return {
        name: {metric: float("nan") if x is None else float(x) for metric, x in of_one.items()}
        for name, of_one in scores.items()
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
    for record in read_records(run.folder / "metrics.json"):
        if record["iteration"] >= run.max_iter:
            scores = by_dataset(record, run.tests) or scores
    if not scores or (run.keeps_weights and not run.weights.is_file()):
        return False
    write_json(
        run.folder / RESULT_FILE,
        {
            "identity": run.identity,
            "method": run.method,
            "variant": run.variant,
            "task": run.task.label,
            "seed": run.seed,
            "config": str(run.config),
            "overrides": list(run.overrides),
            "pretraining": None if run.pretrain is None else str(run.pretrain.folder),
            "datasets_root": str(datasets_root()),
            "iterations": run.max_iter,
            "scores": scores,
        },
    )
    return True
