"""What a training has written into its folder, by name: ``--overwrite`` removes that, no more."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..evaluation.label_free.outcome import FILE_NAME, PREDICTIONS_FILE
from .checkpoint_files import checkpoint_files
from .writers import RUN_ID_FILES

# Files of a training beside metrics.json: these names and no others, which are the user's.
_NAMES = ("last_checkpoint", "model_final.safetensors", FILE_NAME, PREDICTIONS_FILE, *RUN_ID_FILES)
_WRITTEN = re.compile(
    r"model_(\d{1,18}|final|best|selected|oracle)\.pth|events\.out\.tfevents\..+|"
    + "|".join(map(re.escape, _NAMES))
)
# What evaluators write: see report_path in ../evaluation.
_REPORT = re.compile(r"(voc|detections|confusion|predictions)_.+\.(json|png)")


def remove_run(folder: str | Path) -> None:
    """Remove what a training wrote into its folder; what else is there stays.

    A run of its own in ``teacher`` or ``inference`` is something else. ``metrics.json`` is emptied
    rather than removed: the new run has it open already.
    """
    folder = Path(folder)
    for file in _run_files(folder):
        file.unlink(missing_ok=True)
    for file in reports_of(folder):
        file.unlink(missing_ok=True)
    emptied = [f for e in _evaluations(folder) for f in (*sorted(e.rglob("*"), reverse=True), e)]
    for inside in (*emptied, folder / "teacher"):
        with suppress(OSError):  # not there, no folder, or not empty
            inside.rmdir()
    if (folder / "metrics.json").is_file():
        os.truncate(folder / "metrics.json", 0)


def run_bytes(folder: str | Path) -> int:
    """Bytes of what :func:`remove_run` would remove."""
    folder = Path(folder)
    return bytes_of([*_run_files(folder), *reports_of(folder)])


def checkpoints_left(folder: str | Path) -> list[Path]:
    """Checkpoints of a training under names of the user's: ``--resume`` would look at them."""
    from ..modeling.weight_files import peek  # with torch

    left = [f for f in checkpoint_files(folder) if not _WRITTEN.fullmatch(f.name)]
    return [f for f in left if type(peek(f, "iteration")) is int]


def _run_files(folder: Path) -> list[Path]:
    """Files of a training, ``last_checkpoint`` first: it must not name what is gone."""
    found = [f for f in folder.glob("*") if _WRITTEN.fullmatch(f.name)]
    found.sort(key=lambda f: (f.name != "last_checkpoint", f.name))
    return [f for f in found if f.is_file() or f.is_symlink()]


def reports_of(folder: Path) -> list[Path]:
    """Files of the evaluations of a training."""
    found = [f for e in _evaluations(folder) for f in e.rglob("*") if _REPORT.fullmatch(f.name)]
    return [f for f in found if f.is_file() or f.is_symlink()]


def _evaluations(folder: Path) -> list[Path]:
    """Folders of the evaluations of a training, of the average of its weights as well."""
    found = [folder / "inference"]
    if not (folder / "teacher").is_symlink() and not _is_run(folder / "teacher"):
        found.append(folder / "teacher" / "inference")
    return [f for f in found if f.is_dir() and not f.is_symlink() and not _is_run(f)]


def _is_run(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() or bool(checkpoint_files(folder))


def bytes_of(files: Sequence[Path]) -> int:
    """Sum of the sizes of files; a link counts for itself."""
    return sum(file.lstat().st_size for file in files)
