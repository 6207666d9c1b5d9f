"""Choosing settings without any target label, from the ``selection.json`` of each run.

For benchmarks that have no validation set. Runs are compared at the end of training, since that is
what tables report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode

from ..errors import UserError
from ..evaluation.label_free import Inputs, Predictions, Validator, get_validator
from ..evaluation.label_free.outcome import PREDICTIONS_FILE, read_outcome
from .choices import Choice, choose_variants
from .runs import Run


def selection_overrides(
    validator: str, method: str, target: Sequence[str], cfg: CfgNode
) -> list[str]:
    """``KEY VALUE`` pairs that make a run score itself.

    Args:
        validator: its name.
        method: whose run it is.
        target: data sets that a run which trains without target images is scored on.
        cfg: what the run trains by without these pairs.

    Raises:
        UserError: there is no such validator, or nobody says which target images it looks at.
    """
    pairs = ["SELECTION.ENABLED", "True", "SELECTION.VALIDATOR", get_validator(validator).name]
    if cfg.DATASETS.TARGET or cfg.SELECTION.TARGET:
        return pairs
    if not target:
        raise UserError(
            f"--select-by {validator}: the variants of {method} have no target images to be judged "
            "by, since DATASETS.TARGET is empty in all configs: name some in SELECTION.TARGET of "
            "its config, or give --variant METHOD:NAME to other methods alone"
        )
    return [*pairs, "SELECTION.TARGET", repr(tuple(target))]


def choose_by_validator(runs: Sequence[Run], name: str) -> list[Choice]:
    """For each method the variant with the best mean score over tasks and seeds.

    A validator that compares candidates (EnsV) compares the variants of a method in each task and
    seed. A variant of which a run is missing, or has no score, is not considered.

    Args:
        runs: of all variants, trained with :func:`selection_overrides`; ties go to the variant
            that comes first.
        name: of the validator.

    Raises:
        UserError: there is no such validator, or the runs looked at different images.
    """
    validator = get_validator(name)
    scores: dict[Path, float] = {}
    for method in dict.fromkeys(run.method for run in runs):
        scores |= _scores([run for run in runs if run.method == method], validator)
    direction = "higher" if validator.higher_is_better else "lower"
    return choose_variants(
        runs,
        lambda run: [scores[run.folder]],
        f"target training images without labels by {name}, {direction} is better",
        higher_is_better=validator.higher_is_better,
        digits=3,
    )


def _scores(runs: Sequence[Run], validator: Validator) -> dict[Path, float]:
    """Folder of a run -> score of its last checkpoint, NaN where there is none."""
    scores: dict[Path, float] = {}
    if "ensemble" not in validator.needs:
        for run in runs:
            outcome = read_outcome(run.folder)
            last = None if outcome is None else outcome.last
            found = {} if last is None or not last.checkpoint else last.candidate.scores
            scores[run.folder] = found.get(validator.name, math.nan)
        return scores
    for group in dict.fromkeys((run.task.label, run.seed) for run in runs):
        members = [run for run in runs if (run.task.label, run.seed) == group]
        scores |= _under_one_ensemble(members, validator)
    return scores


def _under_one_ensemble(runs: Sequence[Run], validator: Validator) -> dict[Path, float]:
    said = {run.folder: _predictions(run) for run in runs}
    # A diverged model (NaN) has no vote: one would make the mean of all of them NaN.
    there = {f: p for f, p in said.items() if p is not None and torch.isfinite(p).all()}
    if len({p.shape for p in there.values()}) > 1:
        shapes = ", ".join(f"{folder} {tuple(p.shape)}" for folder, p in there.items())
        raise UserError(f"{validator.name} compares runs on the same images and classes: {shapes}")
    if not there:
        return dict.fromkeys(said, math.nan)
    ensemble = torch.stack(list(there.values())).mean(dim=0)
    return {
        folder: validator(Inputs(target=Predictions(p), ensemble=ensemble))
        if (p := there.get(folder)) is not None
        else math.nan
        for folder in said
    }


def _predictions(run: Run) -> torch.Tensor | None:
    """Target probabilities of the last checkpoint, shape (N, K), of a run that has ended."""
    path = run.folder / PREDICTIONS_FILE
    outcome = read_outcome(run.folder)
    if not path.is_file() or outcome is None or not outcome.last.checkpoint:
        return None
    return _read_predictions(path)


def _read_predictions(path: Path) -> torch.Tensor:
    """Raises UserError: the file is damaged."""
    try:
        with np.load(path, allow_pickle=False) as saved:
            return torch.from_numpy(saved["last"].astype(np.float64))
    # A damaged zip and a damaged array in it fail in ways of their own.
    except Exception as error:
        raise UserError(f"{path} is damaged ({type(error).__name__}): train the run again") from (
            error
        )
