"""A run without a model worth the name: what checkpoints need, in milliseconds."""

from __future__ import annotations

import os
from types import SimpleNamespace

import torch
from detectron2.config import get_cfg
from torch import nn

from metaalign_det.config import add_metaalign_config
from metaalign_det.engine.durable_checkpointer import DurableCheckpointer
from metaalign_det.engine.run_folder import StartRun


class SmallTrainer:
    """State of a trainer: an optimiser that has stepped ``steps`` times."""

    def __init__(self, model: nn.Module, steps: int) -> None:
        self.model = model
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        self.iter = -1
        for _ in range(steps):
            self.step()

    def step(self) -> None:
        self.iter += 1
        self.optimizer.zero_grad()
        self.model(torch.ones(1, 3)).square().sum().backward()
        self.optimizer.step()

    def state_dict(self):
        return {"iteration": self.iter, "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state):
        self.iter = state["iteration"]
        self.optimizer.load_state_dict(state["optimizer"])


def small_cfg(folder, *opts):
    cfg = get_cfg()
    add_metaalign_config(cfg)
    cfg.OUTPUT_DIR = str(folder)
    cfg.SOLVER.MAX_ITER = 100
    cfg.merge_from_list(list(opts))
    return cfg


def small_run(folder, *opts, steps=0, width=2) -> DurableCheckpointer:
    """A checkpointer of a run in ``folder`` that has done so many steps."""
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    model = nn.Linear(3, width, bias=False)
    trainer = SmallTrainer(model, steps)
    return DurableCheckpointer(
        model, str(folder), cfg=small_cfg(folder, *opts), save_to_disk=True, trainer=trainer
    )


def save(run: DurableCheckpointer, name: str = "") -> None:
    """Save the run where it is, as the periodic checkpoint of its iteration or under a name."""
    iteration = run.checkpointables["trainer"].iter
    run.save(name or f"model_{iteration:07d}", iteration=iteration)


def step(run: DurableCheckpointer) -> None:
    run.checkpointables["trainer"].step()


def weights(run: DurableCheckpointer) -> dict:
    return {k: v.clone() for k, v in run.model.state_dict().items()}


def second_save(folder):
    """A run whose first checkpoint is on the disk and whose second is about to be."""
    run = small_run(folder, steps=2)
    save(run)
    step(run)
    return run


def start(run: DurableCheckpointer, **options) -> None:
    """What happens to a run's folder before its first step; ``options`` are those of StartRun."""
    hook = StartRun(run.cfg, run, **options)
    hook.trainer = SimpleNamespace(start_iter=0)
    hook.before_train()


def resumed(folder, *opts, **options):
    """The iteration and the checkpointer of a run that goes on."""
    run = small_run(folder, *opts, **options)
    return run.resume(), run


def same(a, b) -> bool:
    """Whether two state dicts are equal bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())
