"""The training loop and the coordinating hook on a tiny detector, without data sets around them."""

from __future__ import annotations

import torch
from detectron2.engine.train_loop import TrainerBase

from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.engine.coordination import CoordinationHook
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from tests.coordination.toys import relative_error
from tests.tiny import batch, tiny_cfg, tiny_model

ON = ("METAALIGN.TELEMETRY_PERIOD", 1)


class Harness(TrainerBase):
    """The loop and the hook without data sets around them."""

    def __init__(self, cfg, batches, *, hook, model=None, scaler=None, autocast=None, double=False):
        super().__init__()
        self.batches = batches
        self.model = tiny_model(cfg, double=double) if model is None else model
        optimizer = build_optimizer(cfg, self.model)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self._trainer = AdaptationLoop(
            self.model, batches, optimizer,
            seed=cfg.SEED, accumulation=cfg.SOLVER.ACCUMULATION_STEPS,
            scaler=scaler, autocast=autocast,
        )  # fmt: skip
        cfg.METAALIGN.ENABLED = hook
        self.source = build_gradient_source(cfg, self.model)
        self.register_hooks([CoordinationHook(self.source)])

    def run_step(self):
        self._trainer.iter = self.iter
        self._trainer.run_step()


def trained(*opts, steps=3, hook=True, n=2, **kwargs):
    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "", *opts)
    double = kwargs.get("double", False)
    h = Harness(
        cfg, [batch(n, n, seed=i, double=double) for i in range(steps)], hook=hook, **kwargs
    )
    h.train(0, steps)
    return h


def state(h):
    return {k: v.clone() for k, v in h.model.state_dict().items()}


def assert_same(a, b, tolerance=0.0):
    for k in a:
        if tolerance:
            assert relative_error(a[k].double(), b[k].double()) < tolerance, k
        else:
            assert torch.equal(a[k], b[k]), k
