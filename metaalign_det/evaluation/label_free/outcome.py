"""``selection.json`` of a run: the last, the selected and the oracle checkpoint, kept apart."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...files import write_json

FILE_NAME = "selection.json"
#: Beside it, where a validator compares candidates: target probabilities, (N, K) by choice.
PREDICTIONS_FILE = "selection_predictions.npz"

#: data set -> metric -> percent.
Metrics = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Candidate:
    """One evaluated point of a training.

    Args:
        iteration: as in ``metrics.json``; the end of training is ``SOLVER.MAX_ITER``.
        scores: validator -> score, NaN where it has none.
        metrics: scores that need labels, of every data set in ``DATASETS.TEST``.
    """

    iteration: int
    scores: Mapping[str, float]
    metrics: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Chosen:
    """A checkpoint and the candidate it is.

    Args:
        checkpoint: name of the file in the run's folder; "" while there is none of it yet.
        candidate: what is known of it.
    """

    checkpoint: str
    candidate: Candidate


@dataclass(frozen=True)
class Outcome:
    """What a run's selection came to.

    Args:
        validator: that chose, "" for none.
        higher_is_better: its direction.
        last, selected, oracle: the three, None where there is none.
        oracle_by: "data set/metric" of the oracle, which knows target labels; "" without one.
        candidates: everything that was evaluated, in order.
    """

    validator: str
    higher_is_better: bool
    last: Chosen | None
    selected: Chosen | None
    oracle: Chosen | None = None
    oracle_by: str = ""
    candidates: Sequence[Candidate] = ()

    def write(self, folder: str | Path) -> None:
        """Write ``selection.json``, in one step."""
        partial = Path(folder) / f".{FILE_NAME}.partial"
        write_json(partial, asdict(self))
        os.replace(partial, Path(folder) / FILE_NAME)


def read_outcome(folder: str | Path) -> Outcome | None:
    """The outcome in a run's folder; None where nothing was selected.

    Raises:
        UserError: the file is damaged.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        chosen = {name: _chosen(told[name]) for name in ("last", "selected", "oracle")}
        return Outcome(
            _text(told["validator"]),
            bool(told["higher_is_better"]),
            **chosen,
            oracle_by=_text(told["oracle_by"]),
            candidates=[_candidate(c) for c in told["candidates"]],
        )
    # Whatever is wrong with it, it is not what Outcome.write writes.
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
        RecursionError,
    ) as error:
        raise UserError(f"{path} is damaged ({error}): delete it, or train again") from error


def _chosen(told: dict[str, Any] | None) -> Chosen | None:
    return (
        None if told is None else Chosen(_text(told["checkpoint"]), _candidate(told["candidate"]))
    )


def _candidate(told: dict[str, Any]) -> Candidate:
    return Candidate(
        int(told["iteration"]),
        {name: _number(x) for name, x in told["scores"].items()},
        {
            dataset: {metric: _number(x) for metric, x in metrics.items()}
            for dataset, metrics in told["metrics"].items()
        },
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)  # JSON has no NaN


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.60} is no text")
    return value
