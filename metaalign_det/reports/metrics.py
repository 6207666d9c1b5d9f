"""The one reader of ``metrics.json``, which Detectron2's JSONWriter leaves in a run's folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError

logger = logging.getLogger(__name__)

#: Iterations (n,) and values (n,) of one scalar.
Series = tuple[np.ndarray, np.ndarray]


def read_records(path: str | Path, tail: int = 0) -> list[dict[str, Any]]:
    """The records of a run in the order of the file; none where there is no file.

    A killed run may leave half a record, and its successor writes on behind it: the record that
    ends the line counts, and a line without one is skipped with a warning.

    Args:
        path: ``metrics.json`` in an ``OUTPUT_DIR``.
        tail: read the last so many bytes only, without reading megabytes; 0 = all of it.

    Returns:
        list[dict]: each with ``iteration`` (int) and the scalars of that iteration.
    """
    path = Path(path)
    if not path.is_file():
        return []
    with path.open("rb") as file:
        if tail:
            file.seek(max(0, path.stat().st_size - tail))
        lines = file.read().decode("utf-8", errors="replace").splitlines()
    records = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is not None:
            records.append(record)
        elif line.strip() and not tail:  # the first line of a tail is cut off
            logger.warning("%s, line %d is no record of metrics: skipped", path, number)
    return records


def _record(line: str) -> dict[str, Any] | None:
    """The record that ends a line; a name in it may have braces of its own, as a class's."""
    start = 0
    while start >= 0:
        try:
            record = json.loads(line[start:])
        except (ValueError, RecursionError):
            record = None
        # bool is an int to Python, and True no iteration.
        if isinstance(record, dict) and type(record.get("iteration")) is int:
            return record
        start = line.find("{", start + 1)
    return None


def read_metrics(path: str | Path) -> dict[str, Series]:
    """Scalars of one run by name, each as iterations (n,) and values (n,).

    A resumed run has written some iterations twice: the last one counts. Values that are not
    numbers are left out.

    Raises:
        UserError: if the file is missing or holds no record.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} does not exist: pass the metrics.json of a run's OUTPUT_DIR")
    table: dict[str, dict[int, float]] = {}
    for record in read_records(path):
        iteration = record.pop("iteration")
        for key, value in record.items():
            if isinstance(value, int | float):
                table.setdefault(key, {})[iteration] = float(value)
    if not table:
        raise UserError(f"{path} holds no metrics: the run ended before its first record")
    return {
        key: (np.array(sorted(values)), np.array([values[i] for i in sorted(values)]))
        for key, values in table.items()
    }


def by_dataset(flat: Mapping[str, Any], tests: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Undo Detectron2's flattening, which names the data set only where there are several.

    Args:
        flat: flattened results, or a record of ``metrics.json``, of which scalars without a ``/``
            are left out.
        tests: ``DATASETS.TEST``.

    Returns:
        dict: data set -> metric -> value, of those data sets that have any. Scores of an average
            of weights (``EMA``) keep their ``teacher/`` before the metric.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in tests:
        prefix = f"{name}/" if len(tests) > 1 else ""
        scores: dict[str, Any] = {}
        for teacher in ("", "teacher/"):
            begin = teacher + prefix
            scores.update(
                (teacher + key.removeprefix(begin), value)
                for key, value in flat.items()
                if key.startswith(begin) and "/" in key.removeprefix(begin)
            )
        if scores:
            found[name] = scores
    return found
