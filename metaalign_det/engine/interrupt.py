"""Stopping a training on request without losing a step of it."""

from __future__ import annotations

import logging
import os
import select
import signal
import threading
import time
from typing import Any

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm

from .durable_checkpointer import DurableCheckpointer

logger = logging.getLogger(__name__)

#: Signals by which a training is asked to end.
SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds in which a repeated signal is the same request: launchers pass on what a terminal sent.
SAME_REQUEST_SECONDS = 2.0
#: Seconds after which one of several processes ends although its step has not.
GRACE_SECONDS = 60.0


class SaveOnInterrupt(HookBase):
    """On the first Ctrl-C or SIGTERM, finish the step, save a checkpoint and end the training.

    ``--resume`` then continues as if nothing had happened. A second signal ends it at once. To be
    registered last, so that the state it saves is that of a finished iteration.

    Several processes agree at the end of each step: when one of them was asked, all stop behind
    the same step, and none leaves before the checkpoint is on the disk. A process that waits for
    one that is no more would never come to the end of its step, so there each ends itself after
    :data:`GRACE_SECONDS`, or at a second signal.

    Args:
        checkpointer: of the trainer.
    """

    def __init__(self, checkpointer: DurableCheckpointer) -> None:
        self.checkpointer = checkpointer
        self._asked = False
        self._before: dict[int, Any] = {}
        self._group: Any = None  # of the processes, on their processors
        self._watch: _Watch | None = None

    def before_train(self) -> None:
        self._asked = False
        several = comm.get_world_size() > 1
        if several:
            # Signals come to the processor, and so does what is agreed on.
            gloo = dist.get_backend() == "gloo"
            self._group = dist.group.WORLD if gloo else dist.new_group(backend="gloo")
        try:
            self._before = {s: signal.signal(s, self._ask) for s in SIGNALS}
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            self._before = {}
        else:
            self._watch = _Watch() if several else None

    def after_train(self) -> None:
        self._restore()

    def after_step(self) -> None:
        if not self._all_asked():
            return
        iteration = self.trainer.iter
        if self._watch is not None:
            self._watch.stop()  # saving may take its time
            self._watch = None
        self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        comm.synchronize()
        logger.info("stopped after iteration %d; continue with --resume", iteration)
        raise KeyboardInterrupt

    def _all_asked(self) -> bool:
        """Whether any process was asked to stop; the same answer in each."""
        if self._group is None:
            return self._asked
        asked = torch.tensor([int(self._asked)])
        dist.all_reduce(asked, dist.ReduceOp.MAX, group=self._group)
        return bool(asked)

    def _ask(self, number: int, frame: object) -> None:
        if self._watch is None:  # one process: the next signal ends it
            self._restore()
        self._asked = True

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        if self._watch is not None:
            self._watch.stop()
            self._watch = None


class _Watch:
    """Ends this process if its step does not end after a signal.

    Python runs a signal's handler between two of its instructions, so not while the main thread
    waits in a collective operation. The number of a signal is written to a pipe at once, though,
    and a thread reads it.
    """

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._run, name="signals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        signal.set_wakeup_fd(self._before)
        os.close(self._write)
        self._thread.join()
        os.close(self._read)

    def _run(self) -> None:
        first: float | None = None
        while True:
            left = None if first is None else first + GRACE_SECONDS - time.monotonic()
            if left is not None and left <= 0:
                self._end(f"the step did not end within {GRACE_SECONDS:.0f} s of a signal")
            if not select.select([self._read], [], [], left)[0]:
                continue
            numbers = os.read(self._read, 64)
            if not numbers:  # stopped
                return
            if not set(numbers) & set(SIGNALS):
                continue
            now = time.monotonic()
            if first is None:
                first = now
            elif now - first > SAME_REQUEST_SECONDS:
                self._end("asked a second time")

    def _end(self, reason: str) -> None:
        text = f"ended without saving: {reason}; --resume continues from the last checkpoint\n"
        os.write(2, text.encode())
        os._exit(128 + signal.SIGTERM)
