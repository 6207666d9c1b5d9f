"""The table and the file that a benchmark of the step ends in."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.step_cost.arms import ARMS
from benchmarks.step_cost.measure import Timings
from metaalign_det.reports.table import Cell


def parts_of(timings: Timings) -> dict[str, float]:
    """Median seconds of forward pass b (backbone), h (task heads), d (discriminators), and of
    one record of ``telemetry``; a domain's images each."""
    median = {k: statistics.median(v) for k, v in timings.parts.items()}
    b = median["backbone"]
    return {
        "b": b,
        "h": max(median["task"] - b, 0.0),
        "d": max(median["alignment"] / 2 - b, 0.0),
        "telemetry": median["telemetry"],
    }


def predicted(arm: str, parts: Mapping[str, float]) -> float:
    """The cost model's ratio of an arm to plain training, see :class:`.Arm`."""
    seconds = [parts[k] for k in "bhd"]
    cost, plain = (
        sum(n * s for n, s in zip(ARMS[a].cost, seconds, strict=True)) for a in (arm, "plain")
    )
    return cost / plain


def rows_of(
    arms: Sequence[str], timings: Timings, memory: Mapping[str, float]
) -> list[dict[str, Cell]]:
    """One row an arm: medians over rounds of its ratio to plain training in the same round.

    Args:
        arms: keys of ``ARMS``, "plain" among them.
        timings: of these arms.
        memory: growth in bytes by arm; {} where it was not measured.
    """
    parts = parts_of(timings)
    rows = []
    for arm in arms:
        cpu, wall = (
            [a / b for a, b in zip(t[arm], t["plain"], strict=True)]
            for t in (timings.cpu, timings.wall)
        )
        low, _, high = statistics.quantiles(cpu, n=4) if len(cpu) > 1 else cpu * 3
        row: dict[str, Cell] = {
            "arm": ARMS[arm].label,
            "CPU time": statistics.median(cpu),
            "quartiles": f"{low:.2f}–{high:.2f}",
            "cost model": predicted(arm, parts),
            "wall time": statistics.median(wall),
            "CPU s": statistics.median(timings.cpu[arm]),
        }
        if memory:
            row["memory"] = memory[arm] / memory["plain"]
            row["MB"] = round(memory[arm] / 2**20)
        rows.append(row)
    return rows


def as_json(
    arms: Sequence[str],
    timings: Timings,
    memory: Mapping[str, float],
    setting: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that was measured, for other programs.

    Args:
        arms, timings, memory: as for :func:`rows_of`.
        setting: what it was measured on: command, config, machine, versions.

    Returns:
        dict: ``setting``; ``arms``: name -> ``cpu`` and ``wall`` (seconds, one number a round),
        ``cpu_ratio``, ``wall_ratio`` (medians), ``cost_model`` (a ratio), ``memory`` (bytes or
        None) and ``memory_ratio``; ``parts``: seconds b, h, d and telemetry.
    """
    parts = parts_of(timings)
    rows = rows_of(arms, timings, memory)
    return {
        "setting": dict(setting),
        "arms": {
            arm: {
                "cpu": timings.cpu[arm],
                "wall": timings.wall[arm],
                "cpu_ratio": row["CPU time"],
                "wall_ratio": row["wall time"],
                "cost_model": row["cost model"],
                "memory": memory.get(arm),
                "memory_ratio": row.get("memory"),
            }
            for arm, row in zip(arms, rows, strict=True)
        },
        "parts": parts,
    }
