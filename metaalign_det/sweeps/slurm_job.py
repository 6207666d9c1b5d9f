"""What a job of a cluster does: one attempt at a run, asked to save before its time is up.

This is pickled by submitit and called on the node, where it knows nothing but the run's folder.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import BinaryIO

from ..errors import UserError
from .attempt import Attempt, discard_checkpoints, start, take
from .runs import Run, collect_scores

_POLL_SECONDS = 0.2
_LOCK_SECONDS = 60.0  # a job that is queued again may start while the node still ends the old one
_SAVE_SECONDS = 100.0  # of a training to finish its step and save; less than SIGNAL_DELAY_SECONDS
_KILLED_SECONDS = 600.0  # after SIGTERM, by when Slurm has ended a job or queued it again

#: Before the end of a job's time, when Slurm is to say so.
SIGNAL_DELAY_SECONDS = 120


class TrainingJob:
    """Trains one run to its end; called again after an interruption, from its last checkpoint.

    Slurm sends the signal that submitit asked for before a job's time is up: the training saves,
    and submitit queues the job again (:meth:`checkpoint`). SIGTERM, of ``scancel`` or because of a
    job of higher priority, makes it save as well; whether the job comes back is then up to Slurm.

    Args:
        run: what to train.
        command: the training program, and options that stand before the run's.
        minutes: longest time of one job.
        threads: of the process.
        discard: the checkpoints of the run, once it has its result.
    """

    def __init__(
        self,
        run: Run,
        command: Sequence[str],
        *,
        minutes: float,
        threads: int = 1,
        discard: bool = False,
    ) -> None:
        self.run, self.command = run, tuple(command)
        self.minutes, self.threads, self.discard = minutes, threads, discard
        self._attempt: Attempt | None = None
        self._asked = False
        self._started = 0.0

    def __call__(self) -> None:
        """Train.

        Raises:
            UserError: there is no result; says why.
        """
        self._started = time.monotonic()
        run = self.run
        if run.pretrain is not None and not collect_scores(run.pretrain):
            raise UserError(f"what it starts from has failed: {run.pretrain}")
        lock = self._lock()
        try:
            if not collect_scores(run):
                self._train(lock)
        finally:
            lock.close()
        if self.discard:
            discard_checkpoints(run)

    def checkpoint(self) -> object:
        """Save; returns what is to be called when the job runs again.

        Raises:
            UserError: a whole job got no iteration further, and the next would not either.
        """
        from submitit.helpers import DelayedSubmission

        attempt = self._attempt
        if attempt is not None:
            self._ask_to_save()
            deadline = time.monotonic() + _SAVE_SECONDS
            while not _has_ended(attempt.process) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
            _kill_group(attempt.process)
            spent = (
                time.monotonic() - self._started > 0.5 * 60 * self.minutes
            )  # or it was displaced
            if spent and not attempt.iterations():
                raise UserError(
                    f"it got no iteration further in a job of {self.minutes} minutes; more of them "
                    "with --slurm time=..."
                )
        again = TrainingJob(
            self.run,
            self.command,
            minutes=self.minutes,
            threads=self.threads,
            discard=self.discard,
        )
        return DelayedSubmission(again)

    def _lock(self) -> BinaryIO:
        deadline = time.monotonic() + _LOCK_SECONDS
        while (lock := take(self.run)) is None:
            if time.monotonic() > deadline:
                raise UserError(f"another process is at work in {self.run.folder}")
            time.sleep(_POLL_SECONDS)
        return lock

    def _train(self, lock: BinaryIO) -> None:
        # Slurm may send the warning to every process of the job, and its default is death.
        deaf = (signal.SIGUSR1, signal.SIGUSR2)
        self._attempt = attempt = start(
            self.run, lock, self.command, threads=self.threads, ignored=deaf
        )
        before = signal.signal(signal.SIGTERM, self._terminate)
        try:
            # Not process.wait(): checkpoint(), which interrupts it, would meet its lock.
            while not _has_ended(attempt.process):
                time.sleep(_POLL_SECONDS)
            if self._asked:
                # Ended by itself, this job would not be queued again; Slurm is about to end it.
                time.sleep(_KILLED_SECONDS)
        finally:
            _kill_group(attempt.process)
            attempt.process.wait()
            signal.signal(signal.SIGTERM, before)
        if not collect_scores(self.run):
            raise UserError(attempt.reason())

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        self._ask_to_save()

    def _ask_to_save(self) -> None:
        # Once: a second request ends a training without saving.
        if not self._asked and self._attempt is not None:
            self._asked = True
            with suppress(ProcessLookupError):
                os.kill(self._attempt.process.pid, signal.SIGTERM)


def _has_ended(process: subprocess.Popen) -> bool:
    """Without reaping it, and without the lock of ``Popen``: this is called in signal handlers."""
    try:
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, process.pid, flags) is not None
    except ChildProcessError:
        return True


def _kill_group(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):  # nothing is left of it
        os.killpg(process.pid, signal.SIGKILL)
