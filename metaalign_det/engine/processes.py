"""What several processes of a training decide alike, how they are asked to stop, how they end."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, TypeVar

import torch.distributed as dist
from detectron2.utils import comm

from ..errors import UserError

T = TypeVar("T")


def decided_by_the_first(decide: Callable[[], T]) -> T:
    """What ``decide`` returns in the first process, in each process.

    For what looks at files that the first process is about to change: were each process to look
    for itself, some would come too late. To be called by all processes; ``decide`` runs in one.

    Raises:
        UserError: raised by ``decide``, then in each process.
    """
    result, problem = None, None
    if comm.is_main_process():
        try:
            result = decide()
        except UserError as error:
            problem = str(error)
    result, problem = comm.all_gather((result, problem))[0]
    if problem is not None:
        raise UserError(problem)
    return result


@contextmanager
def passed_on_signals() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM go to the processes that this one has started, and it waits for them.

    Each of them finishes its step and saves (:class:`~.interrupt.SaveOnInterrupt`), or, before it
    has come to train, just ends; without this, the one that a person or a job scheduler knows
    would be gone before they have. Before there are any, it is this process that is interrupted.

    Yields:
        list[int]: the signals that came, empty while there are none.
    """
    asked: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        asked.append(number)
        children = multiprocessing.active_children()
        if not children:
            raise KeyboardInterrupt
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)

    before = {s: signal.signal(s, pass_on) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_process() -> NoReturn:
    """Ends a process of several whose work is done, with exit code 0.

    An interpreter that is torn down beside gloo's threads now and then aborts, also after its
    process group is gone, and a finished run would be reported as a failed one. So there is no
    teardown: what it would do for this process is done here.
    """
    dist.destroy_process_group()
    for child in multiprocessing.active_children():  # workers of data loaders
        child.terminate()
        child.join()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
