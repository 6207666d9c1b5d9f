"""What result tables say of a gain: the gain, its odd and even part, its share of a gap.

    python -m benchmarks.table_parts odd-even docs/results/digits_controls.json
    python -m benchmarks.table_parts share docs/results/mini_5400.json --column mini_openmoji_test \
        --base source_strong --oracle oracle
    python -m benchmarks.table_parts difference docs/results/digits_{again,sdat}.json --base dann
    python -m benchmarks.table_parts difference docs/results/mini_{controls,more_seeds}.json \
        --base swda

A table is a JSON file of ``sweep``, or any with ``rows`` of a ``method`` and columns with
``values`` by seed. With g, o and b the scores of MetaAlign, of its control ``opposite`` and of the
base, (g - o) / 2 is the odd part and (g + o) / 2 - b the even one (docs/method.md). The share is
(method - base) / (oracle - base), seed by seed. Several tables of the same seeds have their rows
put together; tables of other seeds add them to the rows that all have. Intervals are Student's,
95 %.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from metaalign_det.errors import UserError
from metaalign_det.reports.statistics import t_interval
from metaalign_det.reports.table import Cell, format_table

Scores = dict[str, NDArray]


def read_scores(paths: Sequence[str], column: str) -> Scores:
    """Scores by method, an array over seeds in the order of the files.

    Where two tables of the same seeds have a method, the first counts. Of tables of different
    seeds only the methods count that all have.

    Raises:
        UserError: one is no table, or no row has the column; two have some seeds in common and not
            all; they have no method in common.
    """
    by_seeds: dict[tuple, Scores] = {}
    for path in paths:
        try:
            table = json.loads(Path(path).read_text(encoding="utf-8"))
            rows = [r for r in table["rows"] if column in r]
            found = {r["method"]: np.array(r[column]["values"], float) for r in rows}
            seeds = tuple(map(int, table.get("seeds") or ()))
            if seeds and any(x.shape != (len(seeds),) for x in found.values()):
                raise ValueError(f"not a value for each of {len(seeds)} seeds")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no table of results ({error!r})") from error
        if not found:
            raise UserError(f"{path}: no row has the column {column!r}")
        by_seeds[seeds] = found | by_seeds.get(seeds, {})
    if len(set().union(*by_seeds)) < sum(map(len, by_seeds)) or (
        len(by_seeds) > 1 and () in by_seeds
    ):
        shown = ", ".join(str(list(s)) for s in by_seeds)
        raise UserError(f"tables of neither the same nor all other seeds do not compare: {shown}")
    first, *others = by_seeds.values()
    common = [m for m in first if all(m in other for other in others)]
    if not common:
        raise UserError(f"no method is in all tables: {', '.join(paths)}")
    if left_out := [m for m in set().union(*by_seeds.values()) if m not in common]:
        print(f"not in the tables of all seeds: {', '.join(sorted(left_out))}", file=sys.stderr)
    return {m: np.concatenate([part[m] for part in by_seeds.values()]) for m in common}


def odd_even(scores: Scores) -> list[dict[str, str]]:
    """A row for every base with a control ``<base>_meta (opposite)``, differences in points.

    Raises:
        UserError: MetaAlign itself is not there, or more than once.
    """
    rows = []
    for base, b in scores.items():
        head = f"{base}_meta ("
        of = {k[len(head) : -1]: v for k, v in scores.items() if k.startswith(head)}
        if "opposite" not in of:
            continue
        o = of["opposite"]
        # Beside the controls there is one variant, MetaAlign at the same length.
        names = set(of) - {"opposite", "random"}
        if len(names) != 1:
            raise UserError(f"{head}...) is to be one row beside the controls, not {len(names)}")
        g = of[name := names.pop()]
        parts = {name: g - b, "opposite": o - b, "random": of.get("random", g * np.nan) - b}
        parts |= {"odd part": (g - o) / 2, "even part": (g + o) / 2 - b}
        rows.append({"method": base} | {k: _shown(v) for k, v in parts.items() if k != name})
        rows[-1]["gradient"] = f"{_shown(parts[name])} [{name}]"
    return rows


def share(scores: Scores, base: str, oracle: str) -> list[dict[str, str]]:
    """A row for every method, percent of the gap.

    Raises:
        UserError: there is no such base or oracle.
    """
    for name in (base, oracle):
        if name not in scores:
            raise UserError(f"there is no row {name!r}, only {', '.join(scores)}")
    gap = scores[oracle] - scores[base]
    return [
        {"method": m, "share of the gap, %": _shown(100 * (x - scores[base]) / gap, sign="")}
        for m, x in scores.items()
    ]


def difference(scores: Scores, base: str, column: str) -> list[dict[str, Cell]]:
    """A row for every method, points.

    Raises:
        UserError: there is no such base.
    """
    if base not in scores:
        raise UserError(f"there is no row {base!r}, only {', '.join(scores)}")
    rows: list[dict[str, Cell]] = []
    for method, x in scores.items():
        rows.append({"method": method, "seeds": len(x), column: x.tolist()})
        if method != base:
            gain = x - scores[base]
            rows[-1] |= {f"minus {base}": _shown(gain), "seeds up": int((gain > 0).sum())}
    return rows


def _shown(values: NDArray, sign: str = "+") -> str:
    low, high = t_interval(values.tolist())
    interval = "" if np.isnan(low) else f" ({low:.1f} to {high:.1f})"
    return f"{values.mean():{sign}.1f}{interval}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("odd-even", "share", "difference"))
    parser.add_argument("tables", nargs="+", metavar="JSON")
    parser.add_argument("--column", default="target test")
    parser.add_argument("--base", default="source")
    parser.add_argument("--oracle", default="oracle")
    args = parser.parse_args(argv)
    try:
        scores = read_scores(args.tables, args.column)
        if args.what == "share":
            rows = share(scores, args.base, args.oracle)
        elif args.what == "difference":
            rows = difference(scores, args.base, args.column)
        else:
            rows = odd_even(scores)
            if not rows:
                raise UserError(f"{args.tables[0]} has no row '<base>_meta (opposite)'")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    parts = ["method", "gradient", "opposite", "random", "odd part", "even part"]
    columns = list(dict.fromkeys(c for row in rows for c in row))
    shown = [c for c in parts if c in columns] + [c for c in columns if c not in parts]
    print(format_table(rows, shown, style="markdown"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
