"""What the log of a run tells: its environment, its time, its memory."""

from __future__ import annotations

import re

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_RULE = re.compile(r"^-{10,}")
_UNTIMED = 3  # iterations at the start of a process, which Detectron2 does not time


def read_environment(log: str) -> dict[str, str]:
    """The table that Detectron2 writes at the head of a log, name -> value, without paths.

    Args:
        log: text of ``log.txt``; of a resumed run the last table counts.
    """
    found: dict[str, str] = {}
    lines = _COLOR.sub("", log).splitlines()
    for start, line in enumerate(lines):
        if "Environment info:" not in line:
            continue
        found = {}
        inside = False
        for row in lines[start + 1 :]:
            if _RULE.match(row):
                if inside:
                    break
                inside = True
                continue
            name, _, value = row.partition("  ")
            if inside and name and value.strip():
                found[name.strip()] = value.strip().partition(" @")[0]
    return found


def read_training_seconds(log: str, iterations: int = 0) -> float:
    """Wall-clock time of all of a run's training, without its evaluations.

    Args:
        log: text of ``log.txt``.
        iterations: that the run has done.

    Returns:
        float: NaN where the log does not tell the time of all of them: a process that was killed
        has left no word of its own.
    """
    parts = re.findall(r"(\d+) iterations in (?:(\d+) days?, )?(\d+):(\d\d):(\d\d)", log)
    told = sum(int(part[0]) + _UNTIMED for part in parts)
    if not parts or told + _UNTIMED < iterations:
        return float("nan")
    seconds = [((int(d or 0) * 24 + int(h)) * 60 + int(m)) * 60 + int(s) for _, d, h, m, s in parts]
    return float(sum(seconds))


def read_peak_memory(log: str) -> float:
    """Largest ``max_mem`` in megabytes, which there is on a GPU only; NaN without."""
    found = re.findall(r"max_mem: (\d+)M", log)
    return float(max(map(int, found))) if found else float("nan")
