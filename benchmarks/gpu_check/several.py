"""As many processes as cards, by Detectron2's ``launch``: their mean gradient is one process's."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from detectron2.engine import launch
from detectron2.utils import comm

from benchmarks.gpu_check.rows import Check, relative_difference
from benchmarks.gpu_check.trial import SIZES, Trial, trial_cfg
from metaalign_det.adaptation.step import split_batch
from metaalign_det.coordination import FlatAllReduce
from metaalign_det.engine.loop import broadcast_model

_OPTIONS = {"joint": (), "MetaAlign": ("METAALIGN.ENABLED", "True")}


def process_checks(device: str) -> Iterator[Check]:
    """NCCL with a process per card, or with a single one; on the CPU gloo with two."""
    cuda = device.startswith("cuda")
    world = torch.cuda.device_count() if cuda else 2
    backend = "NCCL" if cuda else "gloo"
    for name in _OPTIONS:
        yield Check(
            "processes",
            f"{backend}, {world} of them, {name}",
            partial(_compared, device, world, name),
            2e-3,
            "gradients against one process with all images: float32, another order of sums",
        )


def _compared(device: str, world: int, name: str) -> float:
    cfg = _cfg(device, world, name, "SOLVER.ACCUMULATION_STEPS", str(world))
    expected = Trial(cfg, SIZES["detector"]).gradients()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "gradients.pth"
        if world > 1:
            launch(
                _one_of_several, world, dist_url=f"file://{folder}/store",
                args=(device.split(":")[0], world, name, str(file)),
            )  # fmt: skip
        else:  # launch starts no process group for one
            dist.init_process_group(
                "nccl", init_method=f"file://{folder}/store", world_size=1, rank=0
            )
            try:
                _one_of_several(device, world, name, str(file))
            finally:
                dist.destroy_process_group()
        found = torch.load(file, weights_only=True)
    return relative_difference(found, expected.by_name)


def _one_of_several(device: str, world: int, name: str, file: str) -> None:
    torch.set_num_threads(1)
    no_tf32()
    trial = Trial(_cfg(device, world, name), SIZES["detector"], seed=comm.get_rank())
    broadcast_model(trial.model)  # seeds differ, weights may not
    trial.loop.reduce = FlatAllReduce()  # in a single process as well
    trial.batches = [split_batch(trial.batch(), world)[comm.get_rank()]]
    found = trial.gradients().by_name
    if comm.is_main_process():
        torch.save({n: None if g is None else g.cpu() for n, g in found.items()}, file)
    comm.synchronize()


def _cfg(device: str, world: int, name: str, *opts: str):
    images = str(2 * world)
    counts = ("SOLVER.IMS_PER_BATCH", images, "SOLVER.IMS_PER_BATCH_TARGET", images)
    return trial_cfg("detector", device, *counts, *_OPTIONS[name], *opts)


def no_tf32() -> None:
    """Full float32 in convolutions and products: TF32 has 10 bits of mantissa, float32 has 23."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
