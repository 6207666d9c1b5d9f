"""Several steps on the device: the miniature's training, teachers, checkpoints."""

from __future__ import annotations

import itertools
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu_check.rows import Check, relative_difference
from benchmarks.gpu_check.trial import ALL_REGIONS, SIZES, Trial, trial_cfg
from metaalign_det.adaptation.step import Batch
from metaalign_det.config import load_cfg
from metaalign_det.config_files import find_config
from metaalign_det.data import check_data, register_all
from metaalign_det.data.loader.build import build_adaptation_train_loader
from metaalign_det.engine.durable_checkpointer import DurableCheckpointer

#: Steps of the miniature that are compared one by one.
CLOSE = 10

_TEACHER = (
    "EMA.ENABLED", "True", "EMA.DECAY", "0.5", "TEACHER.ENABLED", "True",
    "TEACHER.START_ITER", "0", "INPUT.VIEWS.TARGET", "both",
)  # fmt: skip
_METAALIGN = ("METAALIGN.ENABLED", "True", "METAALIGN.BETA.MODE", "learned")


def training_checks(device: str, steps: int) -> Iterator[Check]:
    """Losses of the miniature, teachers with their average, and checkpoints between devices.

    Args:
        device: as ``MODEL.DEVICE``.
        steps: of the miniature, at least :data:`CLOSE`.
    """
    runs = _Miniature(device, steps)
    yield Check(
        "miniature", f"losses of the first {CLOSE} steps", runs.first, 5e-3,
        "largest relative difference: rounding, which SGD with momentum has not yet amplified",
    )  # fmt: skip
    yield Check(
        "miniature", f"mean loss of the last {steps - steps // 2} of {steps} steps", runs.last, 0.1,
        "relative: single steps drift apart, since regions at the edge of a threshold change "
        "sides; their mean may not",
    )  # fmt: skip
    for model, threshold in (("detector", "0.1"), ("classifier", "0.05")):
        for method in ("hard", "soft"):
            opts = (*_TEACHER, "TEACHER.METHOD", method, "TEACHER.THRESHOLD", threshold)
            yield Check(
                "teacher", f"{model}, {method}, EMA after 3 steps",
                partial(_average, model, device, *opts), 2e-3,
                "relative difference of the average from the CPU's: float32, and regions at edges",
            )  # fmt: skip
    for model in SIZES:
        yield Check(
            "checkpoint", f"{model}, saved on {device}, read on the CPU",
            partial(_moved, model, device, "cpu"), 1e-3,
            "all state exactly (else infinite); the weights after one more step by float32",
        )  # fmt: skip
        yield Check(
            "checkpoint", f"{model}, saved on the CPU, read on {device}",
            partial(_moved, model, "cpu", device), 1e-3, "the same",
        )  # fmt: skip


class _Miniature:
    """Total losses of the miniature's headline training on both devices, run when asked for."""

    def __init__(self, device: str, steps: int) -> None:
        self.device = device
        self.steps = steps
        self._losses: tuple[list[float], list[float]] | None = None

    def first(self) -> float:
        found, expected = (x[:CLOSE] for x in self.losses())
        return max(abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True))

    def last(self) -> float:
        found, expected = (statistics.fmean(x[self.steps // 2 :]) for x in self.losses())
        return abs(found - expected) / abs(expected)

    def losses(self) -> tuple[list[float], list[float]]:
        """Of each step, on the device and on the CPU."""
        if self._losses is None:
            cfg = load_cfg(
                find_config("mini/swda_meta.yaml"),
                [
                    *ALL_REGIONS, "MODEL.WEIGHTS", "", "MODEL.DEVICE", "cpu",
                    "SOLVER.IMS_PER_BATCH", "2", "SOLVER.IMS_PER_BATCH_TARGET", "2",
                    "SOLVER.BASE_LR", "0.002", "SOLVER.MAX_ITER", str(self.steps),
                ],
            )  # fmt: skip
            register_all(cfg)
            check_data(cfg)
            loader = build_adaptation_train_loader(cfg, seed=cfg.SEED)
            batches = list(itertools.islice(iter(loader), self.steps))
            self._losses = (
                self._train(cfg, self.device, batches),
                self._train(cfg, "cpu", batches),
            )
        return self._losses

    def _train(self, cfg, device: str, batches: list[Batch]) -> list[float]:
        cfg = cfg.clone()
        cfg.defrost()
        cfg.MODEL.DEVICE = device
        return Trial(cfg, (160, 160), batches=batches).train(self.steps)


def _average(model: str, device: str, *opts: str) -> float:
    found, expected = (
        _trained(model, where, *opts).source.learning.average.model.state_dict()
        for where in (device, "cpu")
    )
    if {v.device.type for v in found.values()} != {torch.device(device).type}:
        raise AssertionError(f"the average of the weights has left {device}")
    return relative_difference(found, expected)


def _trained(model: str, device: str, *opts: str, steps: int = 3) -> Trial:
    trial = Trial(trial_cfg(model, device, *opts), SIZES[model])
    trial.train(steps)
    return trial


def _moved(model: str, saved_on: str, read_on: str) -> float:
    opts = (*_TEACHER, "TEACHER.THRESHOLD", "0.1", *_METAALIGN)
    with tempfile.TemporaryDirectory() as folder:
        before = _trained(model, saved_on, *opts, "OUTPUT_DIR", folder, steps=2)
        _checkpointer(before, folder).save("model_0000001", iteration=1)
        after = Trial(trial_cfg(model, read_on, *opts, "OUTPUT_DIR", folder), SIZES[model], seed=1)
        after.iteration = _checkpointer(after, folder).resume() + 1
    if relative_difference(_state(after), _state(before)) > 0 or after.iteration != 2:
        return float("inf")
    before.train(1)
    after.train(1)
    return relative_difference(after.weights(), before.weights())


def _checkpointer(trial: Trial, folder: str) -> DurableCheckpointer:
    return DurableCheckpointer(
        trial.model,
        str(Path(folder)),
        cfg=trial.cfg,
        save_to_disk=True,
        trainer=trial.loop,
        teacher=trial.source.learning.average,
    )


def _state(trial: Trial) -> dict[str, torch.Tensor]:
    """Every tensor of a training."""
    state = {f"model/{k}": v for k, v in trial.weights().items()}
    state.update(
        {f"average/{k}": v for k, v in trial.source.learning.average.model.state_dict().items()}
    )
    state.update({f"optimizer/{k}": v for k, v in _tensors(trial.optimizer.state_dict())})
    state.update({f"source/{k}": v for k, v in _tensors(trial.source.state_dict())})
    return state


def _tensors(tree: object, path: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    if isinstance(tree, torch.Tensor):
        yield path, tree
    elif isinstance(tree, dict | list | tuple):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from _tensors(value, f"{path}/{key}")
