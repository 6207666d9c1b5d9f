"""What one training step costs: time, memory, and a cost model beside them.

All arms run the loop of ``engine/loop.py`` on the same model, at the same weights (the learning
rate is 0), on the same images of noise with random boxes or labels, with the same random numbers.
They differ in the loop's gradient source alone.

Shape shorthand for the cost model, in seconds of forward pass: b backbone, of one source image;
h task heads; d discriminators, on one domain.
"""

from __future__ import annotations

import ctypes
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage

from benchmarks.step_cost.arms import ARMS, cfg_of
from benchmarks.step_cost.authors import AuthorsGradients
from benchmarks.step_cost.noise import noise_batch, with_strong_target
from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.adaptation.source import GradientSource
from metaalign_det.adaptation.stage_groups import build_stage_groups
from metaalign_det.adaptation.step import Batch
from metaalign_det.coordination.telemetry import step_telemetry
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from metaalign_det.modeling.backbone.random_start import temper_random_weights


class Bench:
    """A model, its loop, and random data, ready to run any arm.

    Args:
        cfg: a training config of a detector or a classifier; ``MODEL.WEIGHTS`` and data sets are
            not looked at. The batch is ``SOLVER.IMS_PER_BATCH`` + ``IMS_PER_BATCH_TARGET``.
        size: height and width of the images in pixels.
        seed: of weights and images.

    Raises:
        UserError: the config's model cannot be adapted, or aligns nothing.
    """

    def __init__(self, cfg: CfgNode, size: tuple[int, int], seed: int = 0) -> None:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.METAALIGN.TELEMETRY_PERIOD = 0  # measured on its own
        cfg.METAALIGN.RELATIVE_CHANGE_PERIOD = 0
        cfg.METAALIGN.START_ITER = cfg.METAALIGN.WARMUP_ITERS = 0
        self.alpha = cfg.METAALIGN.META_LR
        if cfg.METAALIGN.ALPHA == "lr":
            self.alpha *= cfg.SOLVER.BASE_LR
        cfg.METAALIGN.ALPHA, cfg.METAALIGN.META_LR = "constant", self.alpha
        self.cfg = cfg
        self.size = size
        self.seed = seed
        torch.manual_seed(seed)
        self.model = AdaptationTrainer.build_model(cfg).train()
        if not getattr(self.model, "aligns", False):
            raise UserError(
                f"{cfg.MODEL.META_ARCHITECTURE} of this config aligns nothing, so there is no "
                "lookahead to measure: switch on MODEL.DA.* or MODEL.ALIGN.METHOD"
            )
        temper_random_weights(self.model)
        optimizer = build_optimizer(cfg, self.model)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
            group["lr"] = 0.0  # every arm of every round at the same weights
        self.loop = AdaptationLoop(self.model, self._batches(), optimizer, seed=seed)
        self.groups = build_stage_groups(cfg, self.model)
        self._sources: dict[str, GradientSource] = {}
        self._iteration = 0
        self._strong_target = False

    @property
    def batch(self) -> Batch:
        """Of the current iteration; for a teacher's arm with a strong view of the target."""
        batch = noise_batch(self.cfg, self.size, 1000 * self.seed + self._iteration)
        return with_strong_target(batch) if self._strong_target else batch

    def step(self, arm: str, iteration: int) -> None:
        """One full step: batch, gradients, report, optimiser.

        Args:
            arm: a key of :data:`ARMS`.
            iteration: chooses the images and the random numbers.
        """
        self._iteration = iteration
        self._strong_target = ARMS[arm].strong_target
        self.loop.gradient_source = self._source(arm)
        with EventStorage(iteration) as self.loop.storage:
            self.loop.iter = iteration
            self.loop.run_step()

    def forwards(self) -> dict[str, Callable[[], object]]:
        """The passes whose differences are b, h and d: what they need of a graph, they build.

        Backbone and task on the source, b and b + h; alignment on both domains, 2 b + 2 d.
        """
        model, batch = self.model, self.batch
        return {
            "backbone": lambda: model.backbone_features(batch["source"]),
            "task": lambda: model.task_losses(batch["source"]),
            "alignment": lambda: model.alignment_terms(batch["source"], batch["target"]),
        }

    def telemetry(self) -> Callable[[], object]:
        """The computation of one step's telemetry, on numbers of the right sizes."""
        params = dict(self.model.named_parameters())
        g, v = ({n: torch.randn_like(params[n]) for n in self.groups.scope} for _ in range(2))
        size = dict.fromkeys(self.groups.scope, 0.1)
        return lambda: step_telemetry(self.groups, g, v, params, size)

    def _source(self, name: str) -> GradientSource:
        if name not in self._sources:
            arm = ARMS[name]
            self._sources[name] = (
                AuthorsGradients(arm.authors, self.alpha)
                if arm.authors
                else build_gradient_source(cfg_of(arm, self.cfg), self.model)
            )
        return self._sources[name]

    def _batches(self) -> Iterator[Batch]:
        while True:
            yield self.batch


class Clock:
    """CPU time of the process and wall time, in seconds, of what runs under it.

    Args:
        device: on CUDA the queue is emptied before each reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, work: Callable[[], object]) -> tuple[float, float]:
        """(CPU seconds, wall seconds) of one call."""
        cpu, wall = self._now()
        work()
        cpu_after, wall_after = self._now()
        return cpu_after - cpu, wall_after - wall

    def _now(self) -> tuple[float, float]:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.process_time(), time.perf_counter()


@dataclass(frozen=True)
class Timings:
    """Seconds of every round that was kept.

    Args:
        cpu, wall: name of an arm -> one number a round. Round i of all arms ran side by side.
        parts: "backbone", "task", "alignment" and "telemetry" -> CPU seconds (wall on CUDA).
    """

    cpu: dict[str, list[float]]
    wall: dict[str, list[float]]
    parts: dict[str, list[float]]


def keep_freed_memory() -> bool:
    """Tell the C library to keep freed memory for this process; whether it could be told.

    Otherwise each arm that needs more than the one before it fetches the pages anew and has them
    taken away again afterwards: a cost of interleaving, not of the arm. To be called before
    anything large is allocated.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX of glibc's malloc.h
    return bool(mallopt(trim_threshold, 2**31 - 1) and mallopt(mmap_max, 0))


def measure_time(
    bench: Bench,
    arms: list[str],
    rounds: int,
    discard: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Timings:
    """Run the arms in turn, round after round, so that whatever else the machine does hits all.

    Args:
        bench: where to run them.
        arms: keys of :data:`ARMS`.
        rounds: rounds that count.
        discard: rounds before them, while allocator and kernels settle.
        progress: called with (rounds done, rounds in all).
    """
    clock = Clock(bench.model.device)
    which = 1 if bench.model.device.type == "cuda" else 0
    cpu = {a: [] for a in arms}
    wall = {a: [] for a in arms}
    parts: dict[str, list[float]] = {}
    telemetry = bench.telemetry()
    for r in range(rounds + discard):
        # Another arm comes first each time: being first after the pause is no arm's privilege.
        order = arms[r % len(arms) :] + arms[: r % len(arms)]
        for arm in order:
            seconds = clock.time(lambda arm=arm, r=r: bench.step(arm, r))
            if r >= discard:
                cpu[arm].append(seconds[0])
                wall[arm].append(seconds[1])
        for name, work in {**bench.forwards(), "telemetry": telemetry}.items():
            with EventStorage(r):
                seconds = clock.time(work)
            if r >= discard:
                parts.setdefault(name, []).append(seconds[which])
        progress(r + 1, rounds + discard)
    return Timings(cpu, wall, parts)


def measure_memory(bench: Bench, arm: str, steps: int = 3) -> float:
    """Peak memory growth of some steps over the state before them, in bytes.

    On a CPU it is the growth of this process's resident set, so it has to be called in a fresh
    process, once: what earlier steps needed would be there already. On CUDA it is the growth of
    the memory that tensors hold.

    Args:
        bench: just built.
        arm: a key of :data:`ARMS`.
        steps: how many; the first allocates what lives on, such as momenta.
    """
    device = bench.model.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        before = _resident()
    for i in range(steps):
        bench.step(arm, i)
    after = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _peak_resident()
    return float(after - before)


def _peak_resident() -> int:
    """Peak resident set of this process in bytes.

    ``ru_maxrss`` alone will not do on Linux: a process inherits it from the one that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _resident() -> int:
    """Resident set now, in bytes; where the system does not say, its peak so far."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return _peak_resident()
    return int(statm.read_text().split()[1]) * resource.getpagesize()
