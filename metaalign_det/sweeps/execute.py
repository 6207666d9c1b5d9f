"""Carry out the runs of a sweep: several at a time, each in a process of its own.

Nothing here knows more about training than :mod:`.sweep_runs` does: a run is a command, a folder
and a result that appears in it. So whatever ends a sweep, the next one continues from the folders.
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ..errors import UserError
from .runs import Run, collect_scores, last_iteration

logger = logging.getLogger(__name__)

LOG_FILE = "sweep.log"
_LOCK_FILE = "sweep.lock"
_GRACE_SECONDS = 30.0  # for a run to finish its step and save, between asking it and ending it
# Libraries that would otherwise start a thread per core, in every run.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_ERROR = re.compile(r"^(error:|[\w.]*(Error|Exception|Interrupt)\b)")


@dataclass(frozen=True)
class Failure:
    """A run that gave no result, and why, in one line."""

    run: Run
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Args:
        done, failed, total: runs, the pretraining among them.
        running: runs at work, each with its iteration.
        elsewhere: runs that another process is at work on.
        seconds_left: None before anything can be said.
    """

    done: int
    failed: int
    total: int
    running: tuple[tuple[Run, int], ...]
    elsewhere: int
    seconds_left: float | None


@dataclass
class _Worker:
    run: Run
    process: subprocess.Popen
    lock: BinaryIO
    log_start: int  # bytes of earlier attempts in its log
    slot: int
    first_iteration: int


@dataclass
class Sweep:
    """Runs what is missing of a list of runs.

    Args:
        runs: of :func:`~.sweep_plan.plan_runs`; what they start from comes before them.
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
            UserError: no process at a time, or no thread.
        """
        if self.jobs < 1 or self.threads < 1:
            raise UserError(f"--jobs {self.jobs} --threads {self.threads}: both must be at least 1")
        self.failures.clear()
        every = _with_pretraining(self.runs)
        self._pending = [run for run in every if not collect_scores(run)]
        self._active: list[_Worker] = []
        self._elsewhere: set[Path] = set()
        self._total = len(every)
        self._iterations = 0  # of processes that have ended, in this call
        self._started = time.monotonic()
        if len(self._pending) < len(every):
            done = len(every) - len(self._pending)
            logger.info("%d of %d runs are complete already", done, len(every))
        try:
            while self._pending or self._active:
                for worker in [w for w in self._active if w.process.poll() is not None]:
                    self._finish(worker)
                self._start_runs()
                self.on_progress(self._progress())
                if self._pending or self._active:
                    time.sleep(self.poll_seconds)
        finally:
            self._end_processes()
        return self.failures

    def _start_runs(self) -> None:
        failed = {failure.run.folder for failure in self.failures}
        waiting = {run.folder for run in self._pending} | {w.run.folder for w in self._active}
        for run in list(self._pending):
            if len(self._active) >= self.jobs:
                return
            first = run.pretrain
            if first is not None and first.folder in failed:
                self._pending.remove(run)
                self._fail(run, f"what it starts from has failed: {first}")
            elif first is None or first.folder not in waiting:
                self._start(run)

    def _start(self, run: Run) -> None:
        run.folder.mkdir(parents=True, exist_ok=True)
        lock = _lock(run.folder / _LOCK_FILE)
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
        environment = dict(os.environ)
        environment |= {name: str(self.threads) for name in _THREAD_VARIABLES}
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        command = [*self.command, *run.arguments()]
        with (run.folder / LOG_FILE).open("ab") as log:
            start = log.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                # A group of its own, so that its data loaders can be ended with it.
                start_new_session=True,
                # It holds the lock as well: should this process be killed, the run goes on, and
                # the next sweep waits for it rather than write into the same folder.
                pass_fds=[lock.fileno()],
            )
        first = last_iteration(run.folder) if "--resume" in command else 0
        self._active.append(_Worker(run, process, lock, start, slot, first))

    def _finish(self, worker: _Worker) -> None:
        self._active.remove(worker)
        worker.lock.close()
        run, code = worker.run, worker.process.returncode
        self._iterations += self._done_by(worker)
        if collect_scores(run):
            logger.info("done: %s", run)
            if self.discard_checkpoints and not run.keeps_weights:
                for file in [*run.folder.glob("model_*.pth"), run.folder / "last_checkpoint"]:
                    file.unlink(missing_ok=True)
            return
        reason = _last_error(run.folder / LOG_FILE, worker.log_start)
        if code == 0:
            reason = "it ended without a final evaluation; does DATASETS.TEST name a data set?"
        elif code < 0:
            reason = f"killed by signal {-code} ({signal.strsignal(-code)}); last words: {reason}"
        self._fail(run, reason)

    def _fail(self, run: Run, reason: str) -> None:
        self.failures.append(Failure(run, reason))
        logger.error("failed: %s: %s (log: %s)", run, reason, run.folder / LOG_FILE)

    def _done_by(self, worker: _Worker) -> int:
        return max(0, last_iteration(worker.run.folder) - worker.first_iteration)

    def _progress(self) -> Progress:
        running = tuple((w.run, last_iteration(w.run.folder)) for w in self._active)
        done_here = self._iterations + sum(self._done_by(w) for w in self._active)
        left = sum(run.max_iter for run in self._pending)
        left += sum(max(0, run.max_iter - iteration) for run, iteration in running)
        seconds = (time.monotonic() - self._started) * left / done_here if done_here else None
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
            worker.process.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        try:
            for worker in self._active:
                with suppress(subprocess.TimeoutExpired):
                    worker.process.wait(max(0.0, deadline - time.monotonic()))
        finally:
            for worker in self._active:
                with suppress(ProcessLookupError):  # nothing is left of its group
                    os.killpg(worker.process.pid, signal.SIGKILL)
                worker.process.wait()
                worker.lock.close()
            self._active.clear()


def _with_pretraining(runs: Sequence[Run]) -> list[Run]:
    """What runs start from, and then the runs, each folder once."""
    first = [run.pretrain for run in runs if run.pretrain is not None]
    return list({run.folder: run for run in [*first, *runs]}.values())


def _lock(path: Path) -> BinaryIO | None:
    """The file, locked for as long as it or a copy of its descriptor is open; None if it is."""
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _last_error(log: Path, start: int) -> str:
    """The last line that looks like an error after byte ``start``, or else the last line."""
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")
