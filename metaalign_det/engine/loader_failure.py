"""An image that cannot be read in the middle of a training does not cost the steps before it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..errors import UserError
from .durable_checkpointer import DurableCheckpointer
from .faults import explained_worker_fault

logger = logging.getLogger(__name__)


class SaveOnLoaderFailure(HookBase):
    """When loading a batch fails, save the last finished iteration before the training ends.

    Nothing of the step has been computed then, so that ``--resume``, once the cause is gone, goes
    on bit for bit. Failures of the loader's processes, of drives and of shared memory become a
    ``UserError``. One process only: of several, one cannot save for all while the others are in
    the middle of a step, and they continue from the last checkpoint of
    ``SOLVER.CHECKPOINT_PERIOD``.

    To be registered first: others look at batches before training, and what Detectron2's hooks
    write after it must not get into the checkpoint.

    Args:
        checkpointer: of the trainer.
    """

    def __init__(self, checkpointer: DurableCheckpointer) -> None:
        self.checkpointer = checkpointer
        self._batches: _Batches | None = None

    def before_train(self) -> None:
        self._batches = _Batches(self.trainer.data_loader)
        self.trainer.data_loader = self._batches

    def after_train(self) -> None:
        batches, self._batches = self._batches, None
        if batches is None:
            return
        try:
            if batches.failed and comm.get_world_size() == 1:
                self._save()
        finally:
            batches.stop(forgiving=batches.failed)

    def _save(self) -> None:
        trainer = self.trainer
        done = trainer.iter - 1
        if done < trainer.start_iter:  # nothing that a checkpoint does not hold already
            return
        trainer.iter = done
        try:
            self.checkpointer.save(f"model_{done:07d}", iteration=done)
            logger.info("saved after iteration %d; continue with --resume", done)
        finally:
            trainer.iter = done + 1


class _Batches:
    """A loader's batches, remembering whether it failed.

    torch's loader raises an exception wherever the program happens to be when one of its
    processes dies, in the middle of a step or of a save as well. Here it is kept for the moment
    in which the next batch is asked for.
    """

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader
        self.failed = False
        self._raise: Callable[[int, Any], object] | None = None  # torch's handler of SIGCHLD
        self._died = False
        self._waiting = False  # for a batch: the one place where the handler may raise, once

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            try:
                self._listen()
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                self.failed = True
                reason = explained_worker_fault(error)
                if reason is None:
                    raise
                raise UserError(reason) from error
            finally:
                self._waiting = False
                self._defer()
            yield batch

    def stop(self, forgiving: bool = False) -> None:
        """Give torch its handler back.

        Args:
            forgiving: after a failure, which is known by now: that a second process has died must
                not raise in the middle of what is still to be written.
        """
        if self._raise is not None:
            signal.signal(signal.SIGCHLD, _Forgiving(self._raise) if forgiving else self._raise)
            self._raise = None

    def _listen(self) -> None:
        died, self._died = self._died, False
        if self._raise is not None and died:
            self._raise(signal.SIGCHLD, None)
        self._waiting = True

    def _defer(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        handler = signal.getsignal(signal.SIGCHLD)
        if handler == self._note:
            return
        if isinstance(handler, _Forgiving):  # of an earlier training in this program
            handler = handler.handler
        if callable(handler):
            self._raise = handler
            signal.signal(signal.SIGCHLD, self._note)

    def _note(self, number: int, frame: object) -> None:
        self._died = True
        if self._waiting and self._raise is not None:
            self._waiting = False  # what it raises is being dealt with when the next one dies
            self._raise(number, frame)
            self._waiting = True


class _Forgiving:
    """torch's handler of SIGCHLD, which raises for as long as it knows of a dead process."""

    def __init__(self, handler: Callable[[int, Any], object]) -> None:
        self.handler = handler

    def __call__(self, number: int, frame: object) -> None:
        with suppress(RuntimeError):
            self.handler(number, frame)
