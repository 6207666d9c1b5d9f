"""``--slurm KEY=VALUE`` as the parameters of submitit's executor."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors import UserError

#: What the sweep or submitit decides, in sbatch's names.
_TAKEN = (
    "array", "chdir", "dependency", "error", "job-name", "nodes", "ntasks", "ntasks-per-node",
    "open-mode", "output", "signal",
)  # fmt: skip
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks Slurm for.

    Args:
        minutes: longest time of one job; a run that needs more is continued in its next.
        gpus: of a run, which then trains in as many processes.
        sbatch: other options by their long names: ``{"partition": "gpu", "mem": "32G"}``.
    """

    minutes: int
    gpus: int = 1
    sbatch: dict[str, str] = field(default_factory=dict)


def read_slurm_options(given: Sequence[str]) -> SlurmOptions:
    """``time=8:00:00 gpus=1 cpus=6 partition=gpu``: any long option of sbatch without its dashes.

    Raises:
        UserError: no KEY=VALUE, a key twice or one that the sweep sets, no time.
    """
    options: dict[str, str] = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        key = key.strip().lstrip("-").replace("_", "-")
        if not equals or not value or not re.fullmatch(r"[a-z][a-z-]*", key):
            raise UserError(f"--slurm {pair}: KEY=VALUE is wanted, as in partition=gpu")
        if key in _TAKEN:
            raise UserError(f"--slurm {pair}: the sweep sets {key} itself")
        if key in options:
            raise UserError(f"--slurm: {key} is given twice")
        options[key] = value
    if "time" not in options:
        raise UserError(
            "--launcher slurm needs the longest time of one job, as in --slurm time=8:00:00; a run "
            "that takes longer is continued in its next job"
        )
    minutes = _minutes(options.pop("time"))
    gpus = options.pop("gpus", "1")
    if not gpus.isdecimal():
        raise UserError(f"--slurm gpus={gpus}: a number is wanted, the graphics cards of one run")
    if "cpus" in options:
        options["cpus-per-task"] = options.pop("cpus")
    return SlurmOptions(minutes, int(gpus), options)


def _minutes(text: str) -> int:
    """Of Slurm's forms ``minutes``, ``[days-]hours[:minutes[:seconds]]``, ``minutes:seconds``."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise UserError(f"--slurm time={text}: minutes, H:MM:SS or D-H are wanted")
    days, *rest = found.groups()
    numbers = [int(x) for x in rest if x is not None]
    if days is not None or len(numbers) == 3:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        total = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
    else:
        minutes, seconds = [*numbers, 0][:2]
        total = minutes * 60 + seconds
    if total < 60 * 5:
        raise UserError(f"--slurm time={text}: at least five minutes, or nothing can be saved")
    return -(-total // 60)
