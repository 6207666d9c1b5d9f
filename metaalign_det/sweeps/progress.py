"""How far the runs of a sweep are, and what became of those that failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from .attempt import LOG_FILE
from .runs import Run

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A run that gave no result, and why, in one line."""

    run: Run
    reason: str


def report_failure(run: Run, reason: str) -> Failure:
    """The failure of a run, told to whoever watches."""
    logger.error("failed: %s: %s (log: %s)", run, reason, run.folder / LOG_FILE)
    return Failure(run, reason)


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Args:
        done, failed, total: runs, the pretraining among them.
        running: runs at work, each with its iteration.
        elsewhere: runs that another process is at work on.
        seconds_left: None before anything can be said.
        queued: runs that a cluster has not started yet.
    """

    done: int
    failed: int
    total: int
    running: tuple[tuple[Run, int], ...]
    elsewhere: int
    seconds_left: float | None
    queued: int = 0


def with_pretraining(runs: Sequence[Run]) -> list[Run]:
    """What runs start from, and then the runs, each folder once."""
    first = [run.pretrain for run in runs if run.pretrain is not None]
    return list({run.folder: run for run in [*first, *runs]}.values())


def seconds_left(elapsed: float, done: int, left: int) -> float | None:
    """Seconds for ``left`` iterations if ``done`` took ``elapsed``; None for none done."""
    return elapsed * left / done if done else None
