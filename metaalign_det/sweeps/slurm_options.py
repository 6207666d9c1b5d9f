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
#: Other ways to ask for what ``gpus`` asks for.
_GPUS = ("gres", "gpus-per-node", "gpus-per-task", "gpus-per-socket")
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class SlurmOptions:
    """What a job asks Slurm for.

    Args:
        minutes: longest time of one job; a run that needs more is continued in its next.
        gpus: of a run, which then trains in as many processes.
        gpu_type: as the cluster calls it, "a100"; "" = any.
        sbatch: other options by their long names: ``{"partition": "gpu", "mem": "32G"}``.
    """

    minutes: int
    gpus: int = 1
    gpu_type: str = ""
    sbatch: dict[str, str] = field(default_factory=dict)

    @property
    def gpus_per_node(self) -> int | str | None:
        """What Slurm is asked for; None for no graphics card."""
        if not self.gpus:
            return None
        return f"{self.gpu_type}:{self.gpus}" if self.gpu_type else self.gpus


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
        if key in _GPUS:
            raise UserError(
                f"--slurm {pair}: say gpus=4 or gpus=a100:4; a run trains in as many processes"
            )
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
    kind, _, number = gpus.rpartition(":")
    if not re.fullmatch(r"(?:[\w.-]+:)?\d{1,4}", gpus, re.ASCII):
        raise UserError(
            f"--slurm gpus={gpus}: the number of graphics cards of one run is wanted, 4 or a100:4"
        )
    if "cpus" in options:
        options["cpus-per-task"] = options.pop("cpus")
    return SlurmOptions(minutes, int(number), kind, options)


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
