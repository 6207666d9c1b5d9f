"""The model, batch and schedule that metaalign-det init suggests."""

from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.cli.init_plan import DataPlan
from metaalign_det.cli.init_training import plan_training
from metaalign_det.errors import UserError


def data_of(source, target, kind="detection"):
    plan = DataPlan(kind, "s", "t", images={"s": source, "t": target})
    plan.boxes = np.array([[w, w, 640, 480] for w in (20, 40, 80, 160)], float)
    return plan


def test_the_schedule_grows_with_the_data_and_the_batch_with_the_memory():
    small = plan_training(data_of(300, 500), "auto", None, 256, 448)
    assert (small.model, small.batch, small.max_iter) == ("mini", 4, 2500)
    assert small.anchors == tuple(sorted(small.anchors)) and 8 <= small.anchors[0] < 40
    gpu = plan_training(data_of(300, 500), "auto", 12 * 2**30, 256, 448)
    assert (gpu.model, gpu.batch, gpu.base_lr, gpu.max_iter) == ("resnet101", 1, 0.001, 10000)
    large = plan_training(data_of(300, 500), "auto", 80 * 2**30, 256, 448)
    assert (large.batch, large.base_lr, large.max_iter) == (4, 0.004, 2500)
    assert plan_training(data_of(10**6, 500), "resnet50", None, 256, 448).max_iter == 70000
    classes = plan_training(data_of(2000, 500, "classification"), "auto", 24 * 2**30, 256, 448)
    assert (classes.model, classes.batch, classes.base_lr) == ("resnet50", 24, 0.001)
    with pytest.raises(UserError, match="--model"):
        plan_training(data_of(1, 1), "vgg", None, 256, 448)


def test_anchors_are_sides_in_images_that_are_limited_by_their_longer_side():
    plan = data_of(300, 500)
    plan.boxes[:, 2:] = (1280, 320)
    shrunk = plan_training(plan, "mini", None, 256, 448).anchors
    plan.boxes[:, 2:] = (448, 112)
    plan.boxes[:, :2] *= 448 / 1280
    assert plan_training(plan, "mini", None, 256, 448).anchors == shrunk
    assert shrunk[-1] == max(8, round(float(np.quantile([20, 40, 80, 160], 0.85)) * 448 / 1280))
