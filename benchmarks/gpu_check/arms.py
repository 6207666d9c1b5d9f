"""Time and memory of every arm of the step's benchmark, on this device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

import torch
from detectron2.config import CfgNode

from benchmarks.gpu_check.rows import Check
from benchmarks.step_cost.arms import ARMS
from benchmarks.step_cost.measure import Bench, Clock, measure_memory
from metaalign_det.config import load_cfg
from metaalign_det.config_files import find_config

#: On a GPU: the headline config at the size of its images. On a CPU: something of the same shape.
_HEADLINE = ("voc2watercolor_swda_meta_paper.yaml", (600, 600), 10)
_SELF_TEST = ("mini/swda_meta.yaml", (96, 96), 1)


def arm_checks(device: str, size: int = 0) -> Iterator[Check]:
    """Two rows an arm, in milliseconds and in MB; a row passes if the arm runs and stays finite.

    Args:
        device: as ``MODEL.DEVICE``.
        size: of the images, height and width; 0 = 600 px on CUDA, 96 px on the CPU.
    """
    config, shape, rounds = _HEADLINE if device.startswith("cuda") else _SELF_TEST
    shape = (size, size) if size else shape
    cfg = load_cfg(find_config(config), ["MODEL.WEIGHTS", "", "MODEL.DEVICE", device])
    at = f"{shape[0]} px"
    for arm in ARMS:
        yield Check(
            "arm", f"{arm}, ms a step, {at}", partial(_milliseconds, cfg, shape, arm, rounds)
        )
        yield Check("arm", f"{arm}, peak MB, {at}", partial(_megabytes, cfg, shape, arm))


def _milliseconds(cfg: CfgNode, size: tuple[int, int], arm: str, rounds: int) -> float:
    """Median wall time of a step."""
    bench = Bench(cfg, size)
    clock = Clock(bench.model.device)
    bench.step(arm, 0)
    seconds = sorted(clock.time(partial(bench.step, arm, i))[1] for i in range(1, rounds + 1))
    _check_finite(bench)
    return 1e3 * seconds[len(seconds) // 2]


def _megabytes(cfg: CfgNode, size: tuple[int, int], arm: str) -> float:
    """Growth over the state before the first step; on a CPU that of a process already grown."""
    return measure_memory(Bench(cfg, size), arm) / 2**20


def _check_finite(bench: Bench) -> None:
    norms = [p.grad.norm() for p in bench.model.parameters() if p.grad is not None]
    if not norms or not math.isfinite(float(torch.stack(norms).sum())):
        raise AssertionError("gradients are infinite or NaN")
