"""One run per folder: who is at work in it, whether it is free, and what a new run replaces."""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm
from filelock import FileLock, Timeout

from ..errors import UserError
from ..files import PARTIAL, write_json, write_text
from .checkpoint_files import checkpoint_files
from .durable_checkpointer import DurableCheckpointer
from .faults import explained_fault, free_bytes, megabytes
from .processes import decided_by_the_first
from .replaced_run import bytes_of, checkpoints_left, remove_run, reports_of, run_bytes
from .writers import TrackingWriter

logger = logging.getLogger(__name__)

LOCK_FILE = "run.lock"
HOLDER_FILE = "run.json"
# What a killed run leaves running for a moment: loader processes look for their parent every 5 s.
_WAIT_SECONDS = 10.0


@contextmanager
def locked_folder(folder: str | Path) -> Iterator[None]:
    """Make the folder if need be and be the only run in it while the block lasts.

    The lock is the operating system's: it ends with the process, however that ends. To be entered
    by all processes; the first one holds it.

    Args:
        folder: ``OUTPUT_DIR``.

    Raises:
        UserError: another run holds it (says which process, where and since when), or the folder
            cannot be written to.
    """
    folder = Path(folder)
    locks: list[FileLock] = []

    def lock() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            found = FileLock(folder / LOCK_FILE)
            try:
                found.acquire(timeout=_WAIT_SECONDS if _holder_has_ended(folder) else 0)
            except Timeout:
                raise UserError(
                    f"OUTPUT_DIR {folder} is in use by {_holder(folder)}; wait for it, stop it, "
                    "or set another OUTPUT_DIR"
                ) from None
            locks.append(found)
            write_json(folder / HOLDER_FILE, _this_process())
        except OSError as error:
            reason = explained_fault(error, folder)
            if reason is None:
                raise
            raise UserError(f"OUTPUT_DIR {folder} cannot be written to: {reason}") from error

    decided_by_the_first(lock)
    try:
        yield
    finally:
        for held in locks:
            with suppress(OSError):
                (folder / HOLDER_FILE).unlink(missing_ok=True)
            held.release()


def check_unused(folder: str | Path) -> None:
    """A new run must not mix its files with those of an earlier one.

    Raises:
        UserError: the folder holds checkpoints, metrics or evaluations of a run.
    """
    folder = Path(folder)
    found = [f.name for f in checkpoint_files(folder)]
    metrics = folder / "metrics.json"
    found += ["metrics.json"] if metrics.is_file() and metrics.stat().st_size else []
    found += ["inference"] if reports_of(folder) else []
    if not found:
        return
    go_on = (
        "--resume continues it, "
        if checkpoint_files(folder)
        else "it was ended before its first checkpoint: "
    )
    raise UserError(
        f"OUTPUT_DIR {folder} holds a run already ({', '.join(found[:3])}"
        f"{', ...' if len(found) > 3 else ''}); {go_on}--overwrite replaces it, another "
        "OUTPUT_DIR leaves it as it is"
    )


def evaluation_folder(folder: str | Path) -> Path:
    """Where an evaluation writes: the folder itself, or where a run is in it, a new one inside.

    Returns:
        Path: ``folder``, or ``folder/eval-1``, ``eval-2`` and so on, made.
    """
    folder = Path(folder)
    names = ("config.yaml", "metrics.json", "inference", "last_checkpoint", HOLDER_FILE)
    try:
        if not checkpoint_files(folder) and not any((folder / n).exists() for n in names):
            folder.mkdir(parents=True, exist_ok=True)
            return folder
        number = 1
        while True:
            try:
                (folder / f"eval-{number}").mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder / f"eval-{number}"
    except OSError as error:
        reason = explained_fault(error, folder)
        if reason is None:
            raise
        raise UserError(f"OUTPUT_DIR {folder} cannot be written to: {reason}") from error


class StartRun(HookBase):
    """What becomes of the folder when a run starts, and not before: a failed start changes nothing.

    Checks that there is space for the checkpoints, removes what an earlier run left half-written
    or ``--overwrite`` replaces, writes ``config.yaml``, and keeps by which ids the trackers know
    the run. To be registered behind all others.

    Args:
        cfg: of the run.
        checkpointer: of the trainer.
        overwrite: remove an earlier run's checkpoints, metrics and evaluations.
        trackers: of the trainer.
    """

    def __init__(
        self,
        cfg: CfgNode,
        checkpointer: DurableCheckpointer,
        *,
        overwrite: bool = False,
        trackers: Sequence[TrackingWriter] = (),
    ) -> None:
        self.cfg = cfg
        self.trackers = trackers
        self.checkpointer = checkpointer
        self.overwrite = overwrite

    def before_train(self) -> None:
        decided_by_the_first(self._prepare)

    def _prepare(self) -> None:
        folder = Path(self.cfg.OUTPUT_DIR)
        if self.overwrite and (left := checkpoints_left(folder)):
            raise UserError(
                f"--overwrite does not remove {', '.join(f.name for f in left)} in {folder}, and a "
                "later --resume could go on from it: move it to another folder"
            )
        try:
            partial = [file for file in folder.glob(f".*{PARTIAL}") if file.is_file()]
            freed = bytes_of(partial) + (run_bytes(folder) if self.overwrite else 0)
            check_space(self.cfg, self.checkpointer, self.trainer.start_iter, freed)
            for file in partial:
                file.unlink(missing_ok=True)
            # Before the rest is written: the disk may be full of what goes.
            if self.overwrite:
                remove_run(folder)
            write_text(folder / "config.yaml", self.cfg.dump())
            for tracker in self.trackers:
                tracker.keep_id()
        except OSError as error:
            reason = explained_fault(error, folder)
            if reason is None:
                raise
            raise UserError(f"OUTPUT_DIR {folder}: {reason}") from error


def check_space(
    cfg: CfgNode, checkpointer: DurableCheckpointer, start_iter: int, freed: int = 0
) -> None:
    """Estimate what the checkpoints of a run take, before its first step.

    Args:
        cfg: of the run.
        checkpointer: of the trainer.
        start_iter: first iteration.
        freed: bytes in the folder that are removed before.

    Raises:
        UserError: there is not even space for two, which replacing one takes. That there is no
            space for all is a warning with the numbers.
    """
    free = free_bytes(checkpointer.save_dir)
    one = checkpoint_bytes(checkpointer)
    left = max(0, cfg.SOLVER.MAX_ITER - start_iter)
    period = cfg.SOLVER.CHECKPOINT_PERIOD
    count = left // period if period else 0
    kept = min(count, cfg.SOLVER.CHECKPOINT_KEEP + 1) if cfg.SOLVER.CHECKPOINT_KEEP else count
    need = one * (kept + 1)
    if free < 0:
        return
    free += freed
    are = "are or would be" if freed else "are"
    if free < 2 * one:
        raise UserError(
            f"OUTPUT_DIR {checkpointer.save_dir}: {megabytes(free)} {are} free, but a checkpoint "
            f"takes about {megabytes(one)}, and two must fit; make room or set another OUTPUT_DIR"
        )
    if free < need:
        logger.warning(
            "OUTPUT_DIR %s: %s %s free, but the %d checkpoints to come take about %s (%s each); "
            "SOLVER.CHECKPOINT_KEEP keeps the last few only, SOLVER.CHECKPOINT_PERIOD makes fewer",
            checkpointer.save_dir,
            megabytes(free),
            are,
            kept + 1,
            megabytes(need),
            megabytes(one),
        )


def checkpoint_bytes(checkpointer: DurableCheckpointer) -> int:
    """About what a checkpoint takes: model, teacher, and what the optimiser keeps by parameter."""
    others = dict(checkpointer.checkpointables)
    trainer = others.pop("trainer", None)
    total = _tensor_bytes(checkpointer.model.state_dict())
    total += sum(_tensor_bytes(other.state_dict()) for other in others.values())
    if trainer is None:
        return total
    for group in trainer.optimizer.param_groups:
        # Two moments under Adam, one under SGD with momentum.
        moments = 2 if "betas" in group else int(bool(group.get("momentum", 0)))
        total += moments * sum(p.numel() * p.element_size() for p in group["params"])
    return total


def _tensor_bytes(state: Any) -> int:
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    return sum(map(_tensor_bytes, state.values())) if isinstance(state, Mapping) else 0


def _this_process() -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
        "processes": comm.get_world_size(),
    }


def _read_holder(folder: Path) -> dict[str, object]:
    try:
        holder = json.loads((folder / HOLDER_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return holder if isinstance(holder, dict) else {}


def _holder(folder: Path) -> str:
    holder = _read_holder(folder)
    if not holder:
        return "another process"
    return f"process {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"


def _holder_has_ended(folder: Path) -> bool:
    """Whether the process that is named as the holder was here and is no more."""
    holder = _read_holder(folder)
    pid = holder.get("pid")
    if holder.get("host") != socket.gethostname() or type(pid) is not int:
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
