"""Whether two trainings ended alike, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from metaalign_det.engine.continuation import WALL_CLOCK
from metaalign_det.modeling.weight_files import read_weight_file


def differences(folder: Path, reference: Path) -> list[str]:
    """What differs between two runs: their last checkpoints and their metrics.

    Left out are the config, which names the folder, and the metrics of the clock.

    Returns:
        names of tensors, states and records; empty for runs that are equal bit for bit.
    """
    mine, theirs = (dict(_leaves(_state(f / "model_final.pth"))) for f in (folder, reference))
    found = sorted(set(mine) ^ set(theirs))
    found += [k for k in mine.keys() & theirs.keys() if not _same(mine[k], theirs[k])]
    a, b = (_records(f / "metrics.json") for f in (folder, reference))
    if a != b:
        found.append(f"metrics.json ({len(a)} and {len(b)} records)")
    return found


def _state(path: Path) -> dict[str, Any]:
    content = read_weight_file(path)
    content.pop("metaalign")
    return content


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{prefix}/{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _leaves(item, f"{prefix}/{index}")
    else:
        yield prefix, value


def _same(a: Any, b: Any) -> bool:
    if torch.is_tensor(a) and torch.is_tensor(b):
        return a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and a == b


def _records(path: Path) -> list[dict[str, Any]]:
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = {k: v for k, v in json.loads(line).items() if k not in WALL_CLOCK}
        if set(record) != {"iteration"}:
            records.append(record)
    return records
