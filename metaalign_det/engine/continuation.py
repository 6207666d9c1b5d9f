"""Going on in the middle: the rest of the step a checkpoint was written in, and its metrics."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.engine.hooks import EvalHook, PeriodicCheckpointer, PeriodicWriter
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, EventWriter, JSONWriter, TensorboardXWriter

from .durable_checkpointer import DurableCheckpointer

#: Scalars of the clock, which no two runs have alike: they are in no checkpoint and start anew.
WALL_CLOCK = frozenset({"time", "data_time", "rank_data_time", "eta_seconds"})
_WINDOW = 20  # iterations over which Detectron2's writers smooth


class ContinueRun(HookBase):
    """Makes ``metrics.json`` and the evaluations of a resumed run those of an uninterrupted one.

    Detectron2 checkpoints before it evaluates and writes metrics, and smooths what it writes over
    the last 20 iterations. So a checkpoint keeps these 20 iterations of every scalar (but for
    those of the clock, which are smoothed over fewer values after a resumption) and how far
    ``metrics.json`` was written. On resumption, records from after the checkpoint are removed
    from it, and what was still to be done in the checkpoint's step is done: its evaluation and
    its records. A final checkpoint that is missing or damaged is written again.

    To be registered behind all hooks of Detectron2, in all processes.

    Args:
        checkpointer: of the trainer.
        metrics_file: Detectron2's ``metrics.json``.
    """

    def __init__(self, checkpointer: DurableCheckpointer, metrics_file: str | Path) -> None:
        self.checkpointer = checkpointer
        self.metrics_file = Path(metrics_file)
        self._finished = -1  # iteration whose hooks have all run
        self._loaded: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        storage = getattr(self.trainer, "storage", None)
        if storage is None:
            return {}
        return {
            "scalars": _recent_scalars(storage),
            "written": max((w._last_write for w in self._writers()), default=-1),
            "step_finished": self._finished == self.trainer.iter,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._loaded = state

    def before_train(self) -> None:
        state, self._loaded = self._loaded, None
        if state is None:
            return
        trainer = self.trainer
        _put_scalars(trainer.storage, state["scalars"])
        if comm.is_main_process():
            rewind_metrics(self.metrics_file, state["written"])
            for writer in self._writers():
                writer._last_write = state["written"]
        trainer.iter = trainer.storage.iter = trainer.start_iter - 1
        self._finished = trainer.iter if state["step_finished"] else -1
        # Before the rest of the step, as it would have been.
        if trainer.start_iter >= trainer.max_iter and not self._final_is_whole():
            self.checkpointer.save("model_final", iteration=trainer.iter)
        if not state["step_finished"]:
            self._finish_step()
            self._finished = trainer.iter
        trainer.storage.iter = trainer.start_iter
        # Detectron2 adds one at the end, also where no step was left to do.
        if trainer.start_iter < trainer.max_iter:
            trainer.iter = trainer.start_iter

    def after_step(self) -> None:
        self._finished = self.trainer.iter

    def _finish_step(self) -> None:
        hooks: Sequence[HookBase] = self.trainer._hooks
        first = next(
            (i for i, h in enumerate(hooks) if isinstance(h, PeriodicCheckpointer | EvalHook)),
            len(hooks),
        )
        for hook in hooks[first : hooks.index(self)]:
            if not isinstance(hook, PeriodicCheckpointer):
                hook.after_step()

    def _final_is_whole(self) -> bool:
        if not comm.is_main_process():
            return True
        return self.checkpointer.is_whole("model_final", self.trainer.iter)

    def _writers(self) -> list[EventWriter]:
        return [
            writer
            for hook in self.trainer._hooks
            if isinstance(hook, PeriodicWriter)
            for writer in hook._writers
            if isinstance(writer, JSONWriter | TensorboardXWriter)
        ]


def rewind_metrics(path: str | Path, iteration: int) -> int:
    """Cut a ``metrics.json`` behind its last record of an iteration up to this one.

    Records after it, and a line that a killed process left half-written at the end, are removed.
    The file stays the same file, which writers may have open.

    Returns:
        int: bytes removed.
    """
    path = Path(path)
    if not path.is_file():
        return 0
    place = end = 0
    with open(path, "r+b") as file:
        for line in file:
            place += len(line)
            found = _iteration_of(line)
            if found is not None and found > iteration:
                break
            if found is not None and line.endswith(b"\n"):
                end = place
        removed = os.fstat(file.fileno()).st_size - end
        if removed:
            file.truncate(end)
            os.fsync(file.fileno())
    return removed


def _iteration_of(line: bytes) -> int | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):  # half-written, or no record at all
        return None
    found = record.get("iteration") if isinstance(record, dict) else None
    return found if type(found) is int else None


def _recent_scalars(storage: EventStorage) -> dict[str, dict[str, Any]]:
    recent = {}
    for name, history in storage.histories().items():
        values = history.values()
        if name in WALL_CLOCK or not values:
            continue
        count = storage.count_samples(name, _WINDOW)
        recent[name] = {
            "values": [[float(v), int(i)] for v, i in values[-count:]],
            "smooth": bool(storage.smoothing_hints()[name]),
        }
    return recent


def _put_scalars(storage: EventStorage, scalars: dict[str, dict[str, Any]]) -> None:
    for name, entry in scalars.items():
        for value, iteration in entry["values"]:
            storage.put_scalar(name, value, smoothing_hint=entry["smooth"], cur_iter=iteration)
