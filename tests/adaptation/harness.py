"""A tiny detector and classifier in the training loop, whatever computes the gradients."""

from __future__ import annotations

import torch
from detectron2.engine.train_loop import TrainerBase

from metaalign_det.adaptation.registry import build_gradient_source
from metaalign_det.engine.coordination import CoordinationHook
from metaalign_det.engine.loop import AdaptationLoop
from metaalign_det.engine.optimizers import build_optimizer
from tests.tiny import batch, tiny_cfg, tiny_model


class Harness(TrainerBase):
    """The loop and its gradient source without data sets around them."""

    def __init__(self, cfg, batches, model=None):
        super().__init__()
        self.model = tiny_model(cfg) if model is None else model
        optimizer = build_optimizer(cfg, self.model)
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
        self.source = build_gradient_source(cfg, self.model)
        self._trainer = AdaptationLoop(
            self.model, batches, optimizer, seed=cfg.SEED, source=self.source,
            accumulation=cfg.SOLVER.ACCUMULATION_STEPS,
        )  # fmt: skip
        self.register_hooks([CoordinationHook(self.source)])

    def run_step(self):
        self._trainer.iter = self.iter
        self._trainer.run_step()

    def state(self) -> dict[str, torch.Tensor]:
        return {k: v.clone() for k, v in self.model.state_dict().items()}


def strong(images):
    """Strong siblings: the same dicts, darker."""
    return [{**x, "image": x["image"] * 0.7} for x in images]


def views(seed=0, n=2) -> dict[str, list[dict]]:
    """A batch of weak views, and strong ones of the target."""
    b = batch(n, n, seed=seed)
    return {**b, "target_strong": strong(b["target"])}


def trained(*opts, steps=3, batches=None, model=None, **kwargs) -> Harness:
    """A harness after some steps on batches of noise."""
    cfg = tiny_cfg("MODEL.DA.GLOBAL.NORM", "", *opts, **kwargs)
    h = Harness(cfg, batches or [views(i) for i in range(steps)], model)
    h.train(0, steps)
    return h
