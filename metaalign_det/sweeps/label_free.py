"""Choosing settings without any target label, from the ``selection.json`` of each run.

For benchmarks that have no validation set. Runs are compared at the end of training, since that is
what tables report.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from ..errors import UserError
from ..evaluation.label_free import Inputs, Predictions, Validator, get_validator
from ..evaluation.label_free.outcome import PREDICTIONS_FILE, read_outcome
from .runs import Run
from .tables import Choice


def selection_overrides(validator: str | None) -> list[str]:
    """``KEY VALUE`` pairs that make a run score itself; [] for no validator.

    Raises:
        UserError: there is no such validator.
    """
    if not validator:
        return []
    return ["SELECTION.ENABLED", "True", "SELECTION.VALIDATOR", get_validator(validator).name]


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
    choices = []
    for method in dict.fromkeys(run.method for run in runs):
        of_method = [run for run in runs if run.method == method]
        scores = _scores(of_method, validator)
        means, incomplete = {}, []
        for variant in dict.fromkeys(run.variant for run in of_method):
            values = [scores[run.folder] for run in of_method if run.variant == variant]
            if any(math.isnan(v) for v in values):
                incomplete.append(variant)
            else:
                means[variant] = mean(values)
        best = max(means, key=lambda v: validator.goodness(means[v])) if means else None
        direction = "higher" if validator.higher_is_better else "lower"
        by = f"target training images without labels by {name}, {direction} is better"
        choices.append(Choice(method, best, means, tuple(incomplete), by=by, digits=3))
    return choices


def _scores(runs: Sequence[Run], validator: Validator) -> dict:
    """Folder of a run -> score of its last checkpoint, NaN where there is none."""
    scores = {}
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


def _under_one_ensemble(runs: Sequence[Run], validator: Validator) -> dict:
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
        folder: validator(Inputs(target=Predictions(p, p), ensemble=ensemble))
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
