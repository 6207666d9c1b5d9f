"""How much of each gradient PCGrad and its kin took over a training, from what it recorded.

    python -m benchmarks.projection_weights output/study/mini_cagrad/swda/cagrad/*/seed*

Prints, for each weight that the runs recorded (``projection/weight_*``), the mean over a training,
averaged over the runs, and the smallest and largest of all records.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metaalign_det.errors import UserError
from metaalign_det.reports.metrics import read_records

_PREFIX = "projection/weight_"


def summarise(folders: Sequence[Path]) -> list[dict]:
    """Rows of ``weight``, ``runs``, ``mean``, ``least`` and ``most``.

    Raises:
        UserError: a folder's run recorded none.
    """
    found: dict[str, list[list[float]]] = {}
    for folder in folders:
        records = read_records(folder / "metrics.json")
        names = sorted({k for record in records for k in record if k.startswith(_PREFIX)})
        if not names:
            raise UserError(f"{folder}: no {_PREFIX}* in its metrics.json")
        for name in names:
            found.setdefault(name, []).append([r[name] for r in records if name in r])
    return [
        {
            "weight": name.removeprefix(_PREFIX),
            "runs": len(runs),
            "mean": round(float(np.mean([np.mean(run) for run in runs])), 2),
            "least": round(min(map(min, runs)), 2),
            "most": round(max(map(max, runs)), 2),
        }
        for name, runs in found.items()
    ]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="OUTPUT_DIR of each run")
    args = parser.parse_args(argv)
    try:
        rows = summarise(args.runs)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
