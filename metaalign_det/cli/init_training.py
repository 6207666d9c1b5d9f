"""What a config for two folders should say of model, batch and schedule."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from detectron2.config import CfgNode

from ..errors import UserError
from .init_plan import DataPlan

#: Legal values of ``--model``, beside "auto".
MODELS = ("resnet101", "resnet50", "mini")

_EPOCHS = 20  # passes over the larger of the two domains
_GB = 2**30


@dataclass(frozen=True)
class TrainingPlan:
    """Model and schedule.

    Attributes:
        model: of :data:`MODELS`.
        batch: source images per step, and as many target images.
        base_lr: learning rate for that batch.
        max_iter: steps.
        reason: how they came about, a sentence.
        anchors: sides in pixels of the resized image, for the small detector.
    """

    model: str
    batch: int
    base_lr: float
    max_iter: int
    reason: str
    anchors: tuple[int, ...] = ()


def plan_training(
    data: DataPlan, model: str, memory: int | None, short_side: int, long_side: int
) -> TrainingPlan:
    """Choose a model for the device, a batch for its memory, a schedule for the data.

    Args:
        data: what there is.
        model: of :data:`MODELS`, or "auto".
        memory: of the GPU in bytes; None = there is none.
        short_side, long_side: pixels that the small detector's images are resized to: those of
            the shorter side, and of the longer one at most.

    Raises:
        UserError: an unknown model.
    """
    if model not in (*MODELS, "auto"):
        raise UserError(f"--model must be auto or one of {', '.join(MODELS)}, not {model!r}")
    if model == "auto" and memory is None:
        model = "mini"
    elif model == "auto":
        model = "resnet101" if data.kind == "detection" else "resnet50"
    gigabytes = 0 if memory is None else memory / _GB
    if data.kind == "detection":
        small, most = model == "mini", 70000
        # One image of each domain at 600 px and their lookahead take about 10 GB (ResNet-101).
        batch = 4 if small else max(1, min(4, int(gigabytes // 10)))
        base_lr = 0.01 if small else 0.001 * batch
    else:
        small, most = model == "mini", 10000
        batch = 16 if small or gigabytes < 16 else 24
        base_lr = 0.01 if small else round(0.001 * batch / 24, 6)
    larger = max(data.images[data.train], data.images[data.target])
    least = 500 if small else 2000
    steps = int(np.clip(_EPOCHS * larger / batch, least, 5000 if small else most))
    steps = -(-steps // 100) * 100
    reason = (
        f"{steps} steps x {batch} images = {steps * batch / data.images[data.train]:.1f} passes "
        f"over the source, {steps * batch / data.images[data.target]:.1f} over the target"
    )
    anchors = _anchors(data, short_side, long_side) if small and data.kind == "detection" else ()
    return TrainingPlan(model, batch, base_lr, steps, reason, anchors)


def _anchors(data: DataPlan, short_side: int, long_side: int) -> tuple[int, ...]:
    """Three sides among which the source's boxes lie, in pixels of the resized image."""
    width, height, image_width, image_height = data.boxes.T
    scale = np.minimum(
        short_side / np.minimum(image_width, image_height),
        long_side / np.maximum(image_width, image_height),
    )
    sides = np.quantile(np.sqrt(width * height) * scale, (0.15, 0.5, 0.85))
    return tuple(sorted({max(8, round(float(side))) for side in sides}))


def device_memory(cfg: CfgNode) -> int | None:
    """Bytes of the GPU that training would use; None without one."""
    import torch

    if not cfg.MODEL.DEVICE.startswith("cuda") or not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_properties(0).total_memory
