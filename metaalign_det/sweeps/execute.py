"""Carry out the runs of a sweep: several at a time, each in a process of its own.

Nothing here knows more about training than :mod:`.runs` does: a run is a command, a folder
and a result that appears in it. So whatever ends a sweep, the next one continues from the folders.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UserError
from .attempt import Attempt, discard_checkpoints, start, take
from .progress import Failure, Progress, report_failure, seconds_left, with_pretraining
from .runs import Run, collect_scores, last_iteration

logger = logging.getLogger(__name__)

_FALSE_STARTS = 3  # runs that end before any has made a step: the others would end likewise
_GRACE_SECONDS = 30.0  # for a run to finish its step and save, between asking it and ending it


@dataclass
class _Worker:
    attempt: Attempt
    slot: int


@dataclass
class Sweep:
    """Runs what is missing of a list of runs.

    Args:
        runs: of :func:`~.plan.plan_runs`; what they start from comes before them.
        command: the training program, ``[python, tools/train_net.py]``.
        jobs: most processes at a time.
        threads: of each process.
        gpus: ids to share out, one per process; () leaves the choice to each.
        discard_checkpoints: remove a run's checkpoints once it has its result.
        on_progress: called after every look at the processes.
        poll_seconds: between two looks.
    """

    runs: Sequence[Run]
    command: Sequence[str]
    jobs: int = 1
    threads: int = 1
    gpus: Sequence[str] = ()
    discard_checkpoints: bool = False
    on_progress: Callable[[Progress], None] = lambda progress: None
    poll_seconds: float = 0.5
    failures: list[Failure] = field(default_factory=list, init=False)

    def execute(self) -> list[Failure]:
        """Run until every run is complete or has failed.

        Whatever exception ends it early, an interruption included, the processes it started are
        ended first; called again, it continues them from their checkpoints.

        Returns:
            the runs that failed.

        Raises:
            UserError: no process at a time, or no thread; the first three runs ended before their
                first step, as where data are missing.
        """
        if self.jobs < 1 or self.threads < 1:
            raise UserError(f"--jobs {self.jobs} --threads {self.threads}: both must be at least 1")
        self.failures.clear()
        every = with_pretraining(self.runs)
        self._pending = [run for run in every if not collect_scores(run)]
        self._active: list[_Worker] = []
        self._elsewhere: set[Path] = set()
        self._total = len(every)
        self._ended = 0  # processes, in this call
        self._iterations = 0  # that they did
        self._started = time.monotonic()
        if len(self._pending) < len(every):
            done = len(every) - len(self._pending)
            logger.info("%d of %d runs are complete already", done, len(every))
        try:
            while self._pending or self._active:
                for worker in [w for w in self._active if w.attempt.process.poll() is not None]:
                    self._finish(worker)
                if self._pending and self._false_starts():
                    if not self._active:
                        raise UserError(self._what_fails())
                else:
                    self._start_runs()
                self.on_progress(self._progress())
                if self._pending or self._active:
                    time.sleep(self.poll_seconds)
        finally:
            self._end_processes()
        return self.failures

    def _false_starts(self) -> bool:
        """Nothing has come of several runs, in this call, and nothing yet of those at work."""
        failed, active = len(self.failures), [w.attempt for w in self._active]
        if failed < _FALSE_STARTS or failed < self._ended:
            return False
        return not self._iterations and not any(a.iterations() for a in active)

    def _what_fails(self) -> str:
        reasons = dict.fromkeys(failure.reason for failure in self.failures)
        return (
            f"the first {len(self.failures)} runs failed before their first step, "
            f"{len(self._pending)} more were not started:\n" + "\n".join(reasons)
        )

    def _start_runs(self) -> None:
        failed = {failure.run.folder for failure in self.failures}
        waiting = {run.folder for run in self._pending} | {
            w.attempt.run.folder for w in self._active
        }
        for run in list(self._pending):
            if len(self._active) >= self.jobs:
                return
            first = run.pretrain
            if first is not None and first.folder in failed:
                self._pending.remove(run)
                self.failures.append(
                    report_failure(run, f"what it starts from has failed: {first}")
                )
            elif first is None or first.folder not in waiting:
                self._start(run)

    def _start(self, run: Run) -> None:
        lock = take(run)
        if lock is None:
            if run.folder not in self._elsewhere:
                logger.info("%s: another process is at work in %s", run, run.folder)
            self._elsewhere.add(run.folder)
            return
        self._elsewhere.discard(run.folder)
        self._pending.remove(run)
        if collect_scores(run):  # by that other process
            lock.close()
            return
        slot = min(set(range(self.jobs)) - {w.slot for w in self._active})
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        attempt = start(run, lock, self.command, threads=self.threads, environment=gpu)
        self._active.append(_Worker(attempt, slot))

    def _finish(self, worker: _Worker) -> None:
        self._active.remove(worker)
        attempt = worker.attempt
        attempt.lock.close()
        self._ended += 1
        self._iterations += attempt.iterations()
        if collect_scores(attempt.run):
            logger.info("done: %s", attempt.run)
            if self.discard_checkpoints:
                discard_checkpoints(attempt.run)
        else:
            self.failures.append(report_failure(attempt.run, attempt.reason()))

    def _progress(self) -> Progress:
        attempts = [w.attempt for w in self._active]
        running = tuple((a.run, last_iteration(a.run.folder)) for a in attempts)
        done_here = self._iterations + sum(a.iterations() for a in attempts)
        left = sum(run.max_iter for run in self._pending)
        left += sum(max(0, run.max_iter - iteration) for run, iteration in running)
        seconds = seconds_left(time.monotonic() - self._started, done_here, left)
        waiting = len(self._pending) + len(self._active)
        return Progress(
            self._total - waiting - len(self.failures),
            len(self.failures),
            self._total,
            running,
            len(self._elsewhere),
            seconds,
        )

    def _end_processes(self) -> None:
        """Ask all to save and end; end what has not, after a while or at a second Ctrl-C."""
        for worker in self._active:
            # It alone: without its data loaders it could not finish the step and save.
            worker.attempt.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        try:
            for worker in self._active:
                with suppress(subprocess.TimeoutExpired):
                    worker.attempt.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self._active:
                process = worker.attempt.process
                with suppress(ProcessLookupError):  # nothing is left of its group
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                worker.attempt.lock.close()
            self._active.clear()
