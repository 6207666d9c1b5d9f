"""Tables of results, for the terminal, for Markdown and as JSON.

A row is a mapping from column names to cells. A cell is a text, a number, or a sequence of
numbers, one per seed, which is shown as mean ± standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from tabulate import tabulate

from ..errors import UserError
from ..files import write_json, write_text
from .statistics import mean_and_sd

Cell = str | float | Sequence[float] | None

_STYLES = {"text": "simple", "markdown": "pipe"}


def format_cell(cell: Cell, digits: int = 1) -> str:
    """A cell as text: ``43.7 ± 3.3`` for several numbers, ``–`` for None and NaN.

    Args:
        cell: see the head of this module.
        digits: decimals of numbers that are not integers.
    """
    if cell is None:
        return "–"
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Real):
        if math.isnan(cell):
            return "–"
        if isinstance(cell, Integral):
            return str(cell)
        return f"{round(float(cell), digits) + 0.0:.{digits}f}"  # no "-0.0"
    mean, sd = mean_and_sd(cell)
    text = format_cell(mean, digits)
    return text if math.isnan(sd) else f"{text} ± {sd:.{digits}f}"


def format_table(
    rows: Sequence[Mapping[str, Cell]],
    columns: Sequence[str],
    title: str = "",
    *,
    style: str = "text",
    digits: int = 1,
) -> str:
    """One table; a column of texts is aligned left, any other right.

    Args:
        rows: cells by column name; a missing one is shown as ``–``.
        columns: the names to show, in order.
        title: a line above the table; "" for none.
        style: "text" or "markdown".
        digits: decimals of numbers that are not integers.

    Raises:
        UserError: if ``style`` is neither.
    """
    if style not in _STYLES:
        raise UserError(f"style of a table: {style!r} is none of {', '.join(_STYLES)}")
    cells = [[row.get(c) for c in columns] for row in rows]
    align = [
        "left" if any(isinstance(line[i], str) for line in cells) else "right"
        for i in range(len(columns))
    ]
    texts = [list(columns), *([format_cell(c, digits) for c in line] for line in cells)]
    if style == "markdown":
        texts = [[text.replace("|", "\\|") for text in line] for line in texts]
    table = tabulate(
        texts[1:],
        headers=texts[0],
        tablefmt=_STYLES[style],
        colalign=align if cells else None,
        disable_numparse=True,
    )
    heading = f"## {title}\n\n" if style == "markdown" else f"{title}\n"
    return heading + table if title else table


def write_results(
    path_md: str | Path,
    path_json: str | Path,
    rows: Sequence[Mapping[str, Cell]],
    columns: Sequence[str],
    title: str = "",
    *,
    notes: Sequence[str] = (),
    digits: int = 1,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write one table as Markdown, rounded, and as JSON, with every value as it was.

    Args:
        path_md, path_json: files to write; their folders are made.
        rows, columns, title, digits: as for :func:`format_table`.
        notes: paragraphs below the Markdown table (seeds, machine, what was measured).
        extra: further keys of the JSON object (configuration, versions).
    """
    for path in (path_md, path_json):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    table = format_table(rows, columns, title, style="markdown", digits=digits)
    write_text(path_md, "\n\n".join([table, *notes]) + "\n")
    write_json(
        path_json,
        {
            "title": title,
            "columns": list(columns),
            "rows": [{c: _with_summary(row.get(c)) for c in columns} for row in rows],
            "notes": list(notes),
            **(extra or {}),
        },
    )


def _with_summary(cell: Cell) -> Any:
    if cell is None or isinstance(cell, str | Real):
        return cell
    mean, sd = mean_and_sd(cell)
    return {"values": list(cell), "mean": mean, "sd": sd}
