"""Paired differences between rows of a table: the same seed and data order, one change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import UserError
from ..reports.statistics import PairedDifference, paired_difference
from ..reports.table import Cell, format_table

#: Columns of a table of differences.
COLUMNS = ("", "minus", "on", "difference", "95 % interval", "seeds up", "sign test p")


def read_pairs(given: Sequence[str], methods: Sequence[str]) -> list[tuple[str, str]]:
    """What is compared with what.

    Args:
        given: ``BASE``, which all other methods are compared with, or ``METHOD:BASE``.
        methods: names of all.

    Returns:
        (method, base), in the order of ``given``.

    Raises:
        UserError: a method that is not there.
    """
    pairs = []
    for text in given:
        method, colon, base = text.rpartition(":")
        for name in (method, base) if colon else (base,):
            if name not in methods:
                raise UserError(
                    f"--against {text}: {name!r} is no method of this sweep; its methods are named "
                    f"after the files in --configs: {', '.join(dict.fromkeys(methods))}"
                )
        others = [method] if colon else [m for m in dict.fromkeys(methods) if m != base]
        pairs += [(other, base) for other in others]
    return pairs


def compare(
    rows: Sequence[Mapping[str, Cell]],
    methods: Sequence[str],
    columns: Sequence[str],
    seeds: Sequence[int],
    pairs: Sequence[tuple[str, str]],
) -> list[dict[str, Any]]:
    """Every variant of each method minus every variant of its base, seed by seed.

    Args:
        rows: of :func:`~.tables.make_rows`; the name of a row stands under "method".
        methods: of the rows, one each.
        columns: to be compared.
        seeds: that a cell's values stand for.
        pairs: (method, base), of :func:`read_pairs`.

    Returns:
        list: ``row``, ``base``, ``column`` and ``found``, a :class:`PairedDifference`.
    """
    named = list(zip(methods, rows))
    return [
        {
            "row": row["method"],
            "base": other["method"],
            "column": column,
            "found": paired_difference(
                _by_seed(other, column, seeds), _by_seed(row, column, seeds)
            ),
        }
        for method, base in pairs
        for name, row in named
        if name == method
        for base_name, other in named
        if base_name == base and other is not row
        for column in columns
    ]


def difference_table(compared: Sequence[Mapping[str, Any]], style: str = "text") -> str:
    """The table of :func:`compare`, in points; "" where there is nothing to compare."""
    if not compared:
        return ""
    rows = [
        dict(zip(COLUMNS, (c["row"], c["base"], c["column"], *told(c["found"])))) for c in compared
    ]
    return format_table(rows, COLUMNS, "Paired differences, points", style=style)


def as_facts(compared: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The same for JSON; what is not known is None."""
    return [
        {
            "row": c["row"],
            "minus": c["base"],
            "on": c["column"],
            "by_seed": {str(seed): value for seed, value in c["found"].values.items()},
            **{
                name: value if math.isfinite(value) else None
                for name, value in (
                    ("mean", c["found"].mean),
                    ("low", c["found"].interval.low),
                    ("high", c["found"].interval.high),
                    ("p_sign", c["found"].p_sign),
                )
            },
            "up": c["found"].wins,
            "seeds": len(c["found"].values),
        }
        for c in compared
    ]


def told(found: PairedDifference) -> tuple[str, str, str, str]:
    """Mean, interval, how many are above zero, and the sign test's p, as tables show them."""
    if not found.values:
        return "–", "–", "0 of 0", "–"
    low, high = found.interval
    known = math.isfinite(low)
    return (
        _signed(found.mean),
        f"{_signed(low)} to {_signed(high)}" if known else "–",
        f"{found.wins} of {len(found.values)}",
        f"{found.p_sign:.3f}" if math.isfinite(found.p_sign) else "–",
    )


def _signed(value: float) -> str:
    text = f"{value:+.1f}"
    return text if float(text) else "0.0"  # which has no sign


def _by_seed(row: Mapping[str, Cell], column: str, seeds: Sequence[int]) -> dict[int, float]:
    values = row[column]
    assert isinstance(values, Sequence) and not isinstance(values, str)
    return dict(zip(seeds, values))
