"""Stopping a training on request without losing a step of it."""

from __future__ import annotations

import logging
import signal

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.engine import HookBase
from detectron2.utils import comm

logger = logging.getLogger(__name__)


class SaveOnInterrupt(HookBase):
    """On the first Ctrl-C or SIGTERM, finish the step, save a checkpoint and end the training.

    ``--resume`` then continues as if nothing had happened. A second signal ends it at once. To be
    registered last, so that the state it saves is that of a finished iteration.

    One process only: several would have to agree on the step to stop at, and must not swallow the
    signal by which their launcher ends them when one has failed. They continue from the last
    checkpoint of ``SOLVER.CHECKPOINT_PERIOD``.

    Args:
        checkpointer: of the trainer.
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self, checkpointer: DetectionCheckpointer) -> None:
        self.checkpointer = checkpointer
        self._asked = False
        self._before: dict[int, object] = {}

    def before_train(self) -> None:
        self._asked = False
        if comm.get_world_size() > 1:
            return
        try:
            self._before = {s: signal.signal(s, self._ask) for s in self.SIGNALS}
        except ValueError:  # not in the main thread: whoever runs us there handles signals
            self._before = {}

    def after_train(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def after_step(self) -> None:
        if not self._asked:
            return
        iteration = self.trainer.iter
        self.checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
        logger.info("stopped after iteration %d; continue with --resume", iteration)
        raise KeyboardInterrupt

    def _ask(self, number: int, frame: object) -> None:
        for signal_number, handler in self._before.items():
            signal.signal(signal_number, handler)
        self._asked = True
