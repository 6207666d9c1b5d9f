"""One attempt at a training: processes forked from this one, and what is done to them."""

from __future__ import annotations

import datetime
import json
import os
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch.distributed as dist
from detectron2.config import CfgNode
from detectron2.engine.hooks import PeriodicWriter
from detectron2.utils import comm
from detectron2.utils.events import JSONWriter

from benchmarks.crash_points import CountedFile, operations
from metaalign_det.config import load_cfg
from metaalign_det.config_files import find_config
from metaalign_det.engine import session
from metaalign_det.errors import UserError

INTERRUPTED = 130
#: In the folder of a training that went through: how often it did each file operation.
OPERATIONS_FILE = "operations.json"
#: A detector of the miniature, cut down to a fraction of a second per step.
_SETTINGS = (
    "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu", "MODEL.MINI_RESNET.WIDTH", "8",
    "MODEL.RESNETS.NORM", "BN", "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
    "SOLVER.IMS_PER_BATCH", "4", "SOLVER.IMS_PER_BATCH_TARGET", "4", "SOLVER.WARMUP_ITERS", "5",
    "SOLVER.STEPS", "(8,)", "DATASETS.TEST", "()", "DATALOADER.NUM_WORKERS", "0", "SEED", "7",
)  # fmt: skip
_DIST_TIMEOUT = 60
_METRICS_PERIOD = 3  # iterations; Detectron2's 20 are more than such a run has


def soak_cfg(folder: Path, *opts: str) -> CfgNode:
    """SW-DA with MetaAlign on the miniature, small, saving every other step into ``folder``."""
    cfg = load_cfg(find_config("mini/swda_meta.yaml"), [*_SETTINGS, *opts])
    cfg.OUTPUT_DIR = str(folder)
    cfg.freeze()
    return cfg


@dataclass(frozen=True)
class Disturbance:
    """What happens to an attempt.

    Args:
        kind: "none", "kill" (SIGKILL at a moment), "write" (SIGKILL before a file operation) or
            "term" (SIGTERM at a moment).
        at: seconds after the first step, or how many operations of the name it takes.
        rank: of the process that it happens to; -1 = all of them.
        operation: name of the file operation.
    """

    kind: str = "none"
    at: float = 0.0
    rank: int = -1
    operation: str = ""

    @classmethod
    def draw(
        cls, rng: random.Random, processes: int, seconds: float, counts: Mapping[str, int]
    ) -> Disturbance:
        """One at random in the first half of a training of so many seconds and operations.

        The first half: what is left of a run gets shorter with each, and few shall come too late.
        Names of operations are drawn alike, although most of a checkpoint's are writes.

        Args:
            counts: name of a file operation -> how often an undisturbed training does it.
        """
        kind = rng.choice(("kill", "write", "write", "write", "term"))
        if kind == "write":
            operation = rng.choice(sorted(counts))
            # Files are the first process's; a signal may reach any, or all.
            return cls(kind, rng.randint(1, max(1, counts[operation] // 2)), 0, operation)
        return cls(kind, rng.uniform(0, seconds / 2), rng.randrange(-1, processes))


@dataclass
class Attempt:
    """How an attempt ended.

    Args:
        codes: exit code of each process, negative for a signal.
        seconds: from its start.
        training_seconds: from the end of its first step.
        resources: (second, resident bytes, open descriptors) of the first process.
        log: its output.
    """

    codes: list[int]
    seconds: float = 0.0
    training_seconds: float = 0.0
    resources: list[tuple[float, int, int]] = field(default_factory=list)
    log: Path = Path()

    def last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def attempt(
    cfg: CfgNode, processes: int, what: Disturbance, log: Path, limit: float = 300.0
) -> Attempt:
    """Train, or continue where there is a checkpoint, and disturb it.

    Args:
        cfg: of :func:`soak_cfg`.
        processes: as many are forked.
        what: is done to them.
        log: file for their output.
        limit: seconds after which it counts as hanging and is killed.
    """
    begin = time.monotonic()
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    marker, store = folder / "first-step", folder.parent / f"store-{time.time_ns()}"
    marker.unlink(missing_ok=True)
    pids = [_fork(cfg, rank, processes, what, log, marker, store) for rank in range(processes)]
    result = Attempt([], log=log)
    codes: dict[int, int] = {}
    stepped: float | None = None
    disturbed = what.kind not in ("kill", "term")
    while len(codes) < processes:
        time.sleep(0.02)
        now = time.monotonic()
        for rank in set(range(processes)) - set(codes):
            pid, status = os.waitpid(pids[rank], os.WNOHANG)
            if pid:
                codes[rank] = os.waitstatus_to_exitcode(status)
        if stepped is None and marker.exists():
            stepped = now
        if not disturbed and stepped is not None and now - stepped >= what.at:
            number = signal.SIGKILL if what.kind == "kill" else signal.SIGTERM
            _send(number, [pids[r] for r in _chosen(what, processes) if r not in codes])
            disturbed = True
        if now - begin > limit:
            _send(signal.SIGKILL, [pids[r] for r in range(processes) if r not in codes])
        if 0 not in codes and (sample := _resources(pids[0])):
            result.resources.append((now - begin, *sample))
    result.codes = [codes[rank] for rank in range(processes)]
    result.seconds = time.monotonic() - begin
    result.training_seconds = 0.0 if stepped is None else time.monotonic() - stepped
    store.unlink(missing_ok=True)
    return result


def _chosen(what: Disturbance, processes: int) -> Sequence[int]:
    return range(processes) if what.rank < 0 else (what.rank,)


def _send(number: int, pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, number)


def _resources(pid: int) -> tuple[int, int] | None:
    """Resident bytes and open descriptors of a process; None where it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, IndexError):
        return None


def _fork(
    cfg: CfgNode,
    rank: int,
    processes: int,
    what: Disturbance,
    log: Path,
    marker: Path,
    store: Path,
) -> int:
    """Start one process of the training; everything is imported already, so it starts at once."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        code = _train(cfg, rank, processes, what, marker, store)
    except BaseException:  # noqa: BLE001  (this process must not go on as its parent would)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _train(
    cfg: CfgNode, rank: int, processes: int, what: Disturbance, marker: Path, store: Path
) -> int:
    if processes > 1:
        timeout = datetime.timedelta(seconds=_DIST_TIMEOUT)
        dist.init_process_group(
            "gloo",
            init_method=f"file://{store}",
            rank=rank,
            world_size=processes,
            timeout=timeout,
        )
        comm.create_local_process_group(processes)
    counts: Counter = Counter()

    def happen(name: str) -> None:
        counts[name] += 1
        if rank == 0 and name == what.operation and counts[name] == what.at:
            os.kill(os.getpid(), signal.SIGKILL)

    step = session.AdaptationTrainer.run_step

    def run_step(trainer: session.AdaptationTrainer) -> None:
        step(trainer)
        if rank == 0:
            marker.touch()

    build_hooks = session.AdaptationTrainer.build_hooks

    def build_hooks_that_write_often(trainer: session.AdaptationTrainer) -> list:
        hooks = build_hooks(trainer)
        for hook in hooks:
            if isinstance(hook, PeriodicWriter):
                hook._period = _METRICS_PERIOD
        return hooks

    session.AdaptationTrainer.run_step = run_step
    session.AdaptationTrainer.build_hooks = build_hooks_that_write_often
    resume = any(Path(cfg.OUTPUT_DIR).glob("model_*.pth"))
    try:
        with operations(happen), _metrics_operations(happen):
            session.train(cfg, resume=resume, overwrite=not resume)
    except KeyboardInterrupt:
        return INTERRUPTED
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if rank == 0:
        (marker.parent / OPERATIONS_FILE).write_text(json.dumps(counts))
    return 0


@contextmanager
def _metrics_operations(happen: Callable[[str], None]) -> Iterator[None]:
    """The writes to ``metrics.json`` count as well, under names of their own."""
    begin = JSONWriter.__init__

    def counted(writer: JSONWriter, *args: Any, **kwargs: Any) -> None:
        begin(writer, *args, **kwargs)
        writer._file_handle = CountedFile(
            writer._file_handle, lambda name: happen(f"metrics.json {name}")
        )

    JSONWriter.__init__ = counted
    try:
        yield
    finally:
        JSONWriter.__init__ = begin
