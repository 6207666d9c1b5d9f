"""The table files of an output folder, which several sweeps may share.

``table_<metric>.md`` and ``.json`` are always those of the latest command. What was there before is
replaced if the new table has all of it: the same sweep again, or one of more seeds, configs or
variants. Any other table is kept under the next free number, ``table_<metric>-1.md`` and ``.json``,
until a later table has all of what is in it.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from .attempt import lock_file

logger = logging.getLogger(__name__)

#: In the output folder, held while tables are written.
TABLES_LOCK = "tables.lock"
_SUFFIXES = (".md", ".json")


@contextmanager
def replaced_table(folder: str | Path, stem: str) -> Iterator[tuple[Path, Path]]:
    """Paths to write a table to; the one that is there is kept if the new one lacks some of it.

    Sweeps that end at the same time take turns. Whatever ends the block, the earlier table is
    there, under its own name or another.

    Args:
        folder: of the sweep; is made.
        stem: of the files, ``table_<metric>``.

    Yields:
        the paths of the Markdown and the JSON file; both are to be written in the block.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_file(folder / TABLES_LOCK, wait=True)
    assert lock is not None
    with lock:
        before = _copy_aside(folder, stem)
        yield folder / f"{stem}.md", folder / f"{stem}.json"
        now = table_facts(folder / f"{stem}.json", folder) or frozenset()
        for other in _numbered(folder, stem):
            facts = table_facts(folder / f"{other}.json", folder)
            if facts is not None and facts <= now:
                _remove(folder, other)
            elif other == before:
                logger.info(
                    "the earlier %s has results that this one lacks: kept as %s",
                    folder / f"{stem}.md",
                    folder / f"{other}.md",
                )


def table_facts(path: Path, folder: Path) -> frozenset[tuple[Any, ...]] | None:
    """What would be lost with a table: each of its results, and what they are results of.

    Args:
        path: the JSON file of a table.
        folder: the output folder, below which runs are told apart.

    Returns:
        frozenset: a value by row, column and seed; the runs; choices of settings and differences,
            if any. Empty for a table without any result. None for a file that cannot be read, or
            is no table, of which nothing is known.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        facts: set[tuple[Any, ...]] = {
            ("value", row["method"], column, seed)
            for row in told["rows"]
            for column, cell in row.items()
            if isinstance(cell, dict)
            for seed, value in zip(told["seeds"], cell["values"])
            if value is not None and math.isfinite(value)
        }
        if not facts:
            return frozenset()
        facts |= {("table", told["benchmark"], told["metric"])}
        facts |= {("run", _below(run, folder)) for run in told["runs"]}
        facts |= {("choice", c["method"], c["variant"]) for c in told.get("choices", ())}
        facts |= {
            ("difference", d["row"], d["minus"], d["on"]) for d in told.get("differences", ())
        }
        return frozenset(facts)
    # Whatever is wrong with it, it is not what a sweep writes.
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _below(run: str, folder: Path) -> str:
    """A run's path below the output folder, however that was spelled when the table was made."""
    path = PurePath(os.path.relpath(run, folder))
    if ".." not in path.parts:
        return path.as_posix()
    parts, name = PurePath(run).parts, folder.resolve().name
    return "/".join(parts[parts.index(name) + 1 :]) if name in parts else run


def _copy_aside(folder: Path, stem: str) -> str | None:
    """Copy the table that is there under the next free number; its stem, None without a table."""
    there = [suffix for suffix in _SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
    if not there:
        return None
    number = 1
    while any((folder / f"{stem}-{number}{suffix}").exists() for suffix in _SUFFIXES):
        number += 1
    copy = f"{stem}-{number}"
    for suffix in there:
        shutil.copy2(folder / f"{stem}{suffix}", folder / f"{copy}{suffix}")
    return copy


def _numbered(folder: Path, stem: str) -> list[str]:
    """Stems of the tables that were kept, the first first."""
    pattern = re.compile(re.escape(stem) + r"-(\d+)\.(md|json)")
    found = (pattern.fullmatch(name) for name in os.listdir(folder))
    return [f"{stem}-{n}" for n in sorted({int(match[1]) for match in found if match})]


def _remove(folder: Path, stem: str) -> None:
    for suffix in _SUFFIXES:
        (folder / f"{stem}{suffix}").unlink(missing_ok=True)
