"""An image that cannot be read in the middle of a training does not cost the steps before it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
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
        trainer = self.trainer
        if batches is None or not batches.failed or comm.get_world_size() > 1:
            return
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
    """A loader's batches, remembering whether it failed."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self.loader = loader
        self.failed = False

    def __iter__(self) -> Iterator[Any]:
        batches = iter(self.loader)
        while True:
            try:
                batch = next(batches)
            except StopIteration:
                return
            except Exception as error:
                self.failed = True
                reason = explained_worker_fault(error)
                if reason is None:
                    raise
                raise UserError(reason) from error
            yield batch
