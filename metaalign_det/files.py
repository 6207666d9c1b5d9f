"""Small files beside a run: what evaluators and reports write."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def report_path(output_dir: str | Path, kind: str, dataset_name: str, suffix: str) -> Path:
    """``output_dir/<kind>_<dataset_name><suffix>``, one file per data set; makes the folder."""
    folder = Path(output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{kind}_{re.sub(r'[^A-Za-z0-9._-]', '_', dataset_name)}{suffix}"


def write_json(path: str | Path, data: Any, indent: int | None = 2) -> None:
    """Write ``data`` as strict JSON: numpy becomes plain, NaN and infinity become ``null``."""
    text = json.dumps(_plain(data), indent=indent, allow_nan=False)
    Path(path).write_text(text + "\n", encoding="utf-8")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
