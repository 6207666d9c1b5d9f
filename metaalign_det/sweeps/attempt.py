"""One attempt at a run: a process that trains, in a folder that is its own while it lasts."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from .runs import Run, last_iteration

LOG_FILE = "sweep.log"
LOCK_FILE = "sweep.lock"
# Libraries that would otherwise start a thread per core, in every run.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_ERROR = re.compile(r"^(error:|[\w.]*(Error|Exception|Interrupt)\b)")


@dataclass
class Attempt:
    """A training process and the lock of its folder.

    Args:
        run: what it trains.
        process: ends with the run.
        lock: held by this process and by ``process``.
        log_start: bytes of earlier attempts in its log.
        first_iteration: that it started from.
    """

    run: Run
    process: subprocess.Popen
    lock: BinaryIO
    log_start: int
    first_iteration: int

    def iterations(self) -> int:
        """Done by this attempt so far."""
        return max(0, last_iteration(self.run.folder) - self.first_iteration)

    def reason(self) -> str:
        """Why the process, which has ended, left no result, in one line."""
        code = self.process.returncode
        if code == 0:
            return "it ended without a final evaluation; does DATASETS.TEST name a data set?"
        said = last_error(self.run.folder / LOG_FILE, self.log_start)
        if code < 0:
            return f"killed by signal {-code} ({signal.strsignal(-code)}); last words: {said}"
        return said


def take(run: Run) -> BinaryIO | None:
    """Make a run's folder and lock it; None if another process is at work there."""
    run.folder.mkdir(parents=True, exist_ok=True)
    return lock_file(run.folder / LOCK_FILE)


def start(
    run: Run,
    lock: BinaryIO,
    command: Sequence[str],
    *,
    threads: int = 1,
    environment: Mapping[str, str] | None = None,
    ignored: Sequence[signal.Signals] = (),
) -> Attempt:
    """Start training, from the last checkpoint where there is one.

    Args:
        run: what to train.
        lock: of :func:`take`.
        command: the training program, and options that stand before the run's.
        threads: of the process.
        environment: variables on top of this process's.
        ignored: signals that the process is deaf to.
    """
    arguments = [*command, *run.arguments()]
    variables = dict.fromkeys(_THREAD_VARIABLES, str(threads)) | dict(environment or {})

    def be_deaf() -> None:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    with (run.folder / LOG_FILE).open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **variables},
            # A group of its own, so that its data loaders can be ended with it.
            start_new_session=True,
            # It holds the lock as well: should this process be killed, the run goes on, and
            # whoever comes next waits for it rather than write into the same folder.
            pass_fds=[lock.fileno()],
            preexec_fn=be_deaf if ignored else None,
        )
    first = last_iteration(run.folder) if "--resume" in arguments else 0
    return Attempt(run, process, lock, log_start, first)


def discard_checkpoints(run: Run) -> None:
    """Remove the checkpoints of a complete run, unless others start from them."""
    if not run.keeps_weights:
        for file in [*run.folder.glob("model_*.pth"), run.folder / "last_checkpoint"]:
            file.unlink(missing_ok=True)


def lock_file(path: Path, *, wait: bool = False) -> BinaryIO | None:
    """The file, locked for as long as it or a copy of its descriptor is open; None if it is.

    Args:
        path: is made.
        wait: until it is free, instead of None.
    """
    file = path.open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    return file


def last_error(log: Path, start: int = 0) -> str:
    """The last line that looks like an error after byte ``start``, or else the last line."""
    if not log.is_file():
        return "it said nothing"
    with log.open("rb") as file:
        file.seek(start)
        text = file.read().decode("utf-8", errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if _ERROR.match(line)]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")
