"""What durable checkpoints and requests to stop cost: a save, a reading, and each step.

python -m benchmarks.durability_cost
python -m benchmarks.durability_cost --rounds 20 --folder /mnt/disk

Saves and readings of one state, a detector with its momentum, are made in turns with Detectron2's
checkpointer and with this package's, so that what else the machine does meets both. Of a step, the
work that was added to it is timed by itself, and compared with the shortest step that trains
anything: the miniature's, cut down as in the soak. With two processes the agreement on a request
to stop is one all_reduce of a number.
"""

from __future__ import annotations

import argparse
import io
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as mp  # noqa: E402
from detectron2.checkpoint import DetectionCheckpointer  # noqa: E402
from detectron2.modeling import build_model  # noqa: E402
from torch import nn  # noqa: E402

from benchmarks.soak.attempts import soak_cfg  # noqa: E402
from metaalign_det import modeling  # noqa: E402, F401  (registers)
from metaalign_det.config import load_cfg  # noqa: E402
from metaalign_det.engine import session  # noqa: E402
from metaalign_det.engine.durable_checkpointer import DurableCheckpointer  # noqa: E402
from metaalign_det.engine.interrupt import SaveOnInterrupt  # noqa: E402
from metaalign_det.engine.loader_failure import _Batches  # noqa: E402
from metaalign_det.modeling.weight_files import read_weight_file  # noqa: E402

_SAVED = "voc2watercolor_swda_meta.yaml"  # ResNet-101 at full size
_STEPS = 40


class _Optimiser:
    """An optimiser as a checkpointer sees a trainer."""

    def __init__(self, model: nn.Module) -> None:
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9)
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def state_dict(self) -> dict:
        return {"iteration": 0, "optimizer": self.optimizer.state_dict()}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.durability_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: a temporary")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error(f"--rounds must be positive, not {args.rounds}")
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(dir=args.folder))
    try:
        print(_table(_files(folder, args.rounds), "seconds"))
        print()
        print(_table(_steps(folder), "milliseconds", 1e3))
    finally:
        shutil.rmtree(folder)
    return 0


def _files(folder: Path, rounds: int) -> dict[str, list[float]]:
    cfg = load_cfg(_SAVED, ["MODEL.DEVICE", "cpu", "OUTPUT_DIR", str(folder)])
    model = build_model(cfg)
    trainer = _Optimiser(model)
    theirs = DetectionCheckpointer(model, str(folder), trainer=trainer)
    ours = DurableCheckpointer(model, str(folder), cfg=cfg, trainer=trainer)

    def flushed() -> None:
        theirs.save("theirs")
        with open(folder / "theirs.pth", "r+b") as file:
            os.fsync(file.fileno())

    arms: dict[str, Callable[[], object]] = {
        "save, Detectron2's": lambda: theirs.save("theirs"),
        "save, Detectron2's and flushed to the disk": flushed,
        "save, this package's": lambda: ours.save("ours", iteration=0),
        "read, torch.load": lambda: torch.load(folder / "read.pth", weights_only=True),
        "read, with its checksums": lambda: read_weight_file(folder / "read.pth"),
    }
    ours.save("read", iteration=0)
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(rounds + 1):  # the first one warms up
        names = list(arms) if number % 2 == 0 else list(arms)[::-1]
        for name in names:
            if name.startswith("save"):  # as in a training, where each has a name of its own
                (folder / "theirs.pth").unlink(missing_ok=True)
                (folder / "ours.pth").unlink(missing_ok=True)
            os.sync()  # what one leaves to be written is not the other's
            begin = time.perf_counter()
            arms[name]()
            if number:
                taken[name].append(time.perf_counter() - begin)
    size = (folder / "read.pth").stat().st_size
    print(f"a checkpoint of {size / 1e6:.0f} MB, {rounds} rounds\n")
    return taken


def _steps(folder: Path) -> dict[str, list[float]]:
    """Seconds of a step, and of what each one has to do more."""
    taken = {"step of the miniature, 1 process": _training(folder / "run")}
    hook = SaveOnInterrupt(DurableCheckpointer(nn.Linear(1, 1), str(folder)))
    hook.before_train()
    taken["added to it: whether to stop, 1 process"] = _timed(hook.after_step, 1000)
    hook.after_train()
    before = signal.signal(signal.SIGCHLD, lambda *_: None)  # as torch does for its loader
    batches = _Batches(_endless())
    watched = iter(batches)
    taken["added to it: watching the loader"] = _timed(lambda: next(watched), 1000)
    batches.stop()
    signal.signal(signal.SIGCHLD, before)
    store = folder / "store"
    mp.spawn(_agree, (str(store), str(folder / "agree.pt")), 2)
    taken["added to it: whether to stop, 2 processes"] = torch.load(
        folder / "agree.pt", weights_only=True
    )
    return taken


def _training(folder: Path) -> list[float]:
    """Seconds of the steps of a small training, hooks included."""
    seconds: list[float] = []
    step = session.AdaptationTrainer.run_step

    def timed(trainer: session.AdaptationTrainer) -> None:
        begin = time.perf_counter()
        step(trainer)
        seconds.append(time.perf_counter() - begin)

    session.AdaptationTrainer.run_step = timed  # type: ignore[method-assign]
    try:
        opts = ("SOLVER.MAX_ITER", str(_STEPS), "SOLVER.CHECKPOINT_PERIOD", "1000")
        with redirect_stdout(io.StringIO()):  # the log
            session.train(soak_cfg(folder, *opts))
    finally:
        session.AdaptationTrainer.run_step = step  # type: ignore[method-assign]
    return seconds[5:]


def _agree(rank: int, store: str, result: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    hook = SaveOnInterrupt(DurableCheckpointer(nn.Linear(1, 1)))
    hook.before_train()
    seconds = _timed(hook.after_step, 500)
    hook.after_train()
    if rank == 0:
        torch.save(seconds, result)
    dist.destroy_process_group()


def _endless() -> Iterator[int]:
    while True:
        yield 0


def _timed(work: Callable[[], object], times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return seconds


def _table(taken: dict[str, list[float]], unit: str, factor: float = 1.0) -> str:
    lines = [f"| {unit} | median | best |", "|---|---|---|"]
    for name, values in taken.items():
        median, best = factor * statistics.median(values), factor * min(values)
        lines.append(f"| {name} | {median:.3f} | {best:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
