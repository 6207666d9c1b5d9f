"""How far several runs are, on one line."""

from __future__ import annotations

import datetime
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sweeps.progress import Progress

_LOG_PERIOD_SECONDS = 60  # between two lines where they do not overwrite each other


@contextmanager
def show_progress() -> Iterator[Callable[[Progress], None]]:
    """Yields what :class:`~metaalign_det.sweeps.execute.Sweep` is to call with its progress.

    On a terminal one line is overwritten, with messages of this package above it; elsewhere one
    is written whenever a run has ended, and else once a minute. Its last state stays visible.
    """
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    terminal = sys.stderr.isatty()
    bar: tqdm | None = None  # made when there is something to show

    def show(progress: Progress) -> None:
        nonlocal bar
        if bar is None:
            bar = tqdm(
                total=progress.total,
                mininterval=0.1 if terminal else _LOG_PERIOD_SECONDS,
                miniters=0,
                dynamic_ncols=terminal,
                # tqdm would reckon the time left from whole runs; a sweep knows their iterations.
                bar_format="{n_fmt}/{total_fmt} done [{elapsed}{postfix}]",
            )
        ended = progress.done != bar.n
        bar.set_postfix_str(describe(progress), refresh=False)
        bar.update(progress.done - bar.n)
        if ended:
            bar.refresh()

    try:
        with logging_redirect_tqdm([logging.getLogger("metaalign_det")]):
            yield show
    finally:
        if bar is not None:
            bar.close()


def describe(progress: Progress) -> str:
    """``1 failed, 2 queued, ETA 0:12:00; dann A→W seed 0 120/10002``."""
    parts = []
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.elsewhere:
        parts.append(f"{progress.elsewhere} at work elsewhere")
    if progress.queued:
        parts.append(f"{progress.queued} queued")
    if progress.seconds_left is not None:
        parts.append(f"ETA {datetime.timedelta(seconds=round(progress.seconds_left))}")
    running = [f"{run} {iteration}/{run.max_iter}" for run, iteration in progress.running]
    return "; ".join(filter(None, [", ".join(parts), *running]))
