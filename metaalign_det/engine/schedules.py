"""Learning-rate schedules that Detectron2 lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from detectron2.config import CfgNode
from detectron2.solver import LRMultiplier, WarmupParamScheduler
from detectron2.solver import build_lr_scheduler as build_detectron2_lr_scheduler
from fvcore.common.param_scheduler import ParamScheduler
from torch.optim.lr_scheduler import LRScheduler

from ..errors import UserError


class InverseParamScheduler(ParamScheduler):
    """(1 + gamma * i) ** -power at iteration i (Ganin and Lempitsky, ICML 2015, section 4).

    Args:
        gamma, power: as in the formula, both >= 0.
        max_iter: what ``where`` = 1 stands for.
    """

    def __init__(self, gamma: float, power: float, max_iter: int) -> None:
        self.gamma = gamma
        self.power = power
        self.max_iter = max_iter

    def __call__(self, where: float) -> float:
        return (1 + self.gamma * where * self.max_iter) ** -self.power


def build_lr_scheduler(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    """Detectron2's schedules by name, and ``WarmupInverseLR``.

    Raises:
        UserError: ``SOLVER.STEPS`` that do not lie within the training, an unknown schedule or
            warm-up.
    """
    solver = cfg.SOLVER
    try:
        if solver.LR_SCHEDULER_NAME == "WarmupInverseLR":
            return _build_inverse(solver, optimizer)
        return build_detectron2_lr_scheduler(cfg, optimizer)
    except ValueError as error:
        raise UserError(
            f"SOLVER.LR_SCHEDULER_NAME {solver.LR_SCHEDULER_NAME!r} with SOLVER.STEPS "
            f"{tuple(solver.STEPS)}, SOLVER.MAX_ITER {solver.MAX_ITER} and SOLVER.WARMUP_METHOD "
            f"{solver.WARMUP_METHOD!r}: {error}"
        ) from error


def _build_inverse(solver: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
    schedule = InverseParamScheduler(solver.INVERSE_GAMMA, solver.INVERSE_POWER, solver.MAX_ITER)
    warmup = WarmupParamScheduler(
        schedule,
        solver.WARMUP_FACTOR,
        min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
        solver.WARMUP_METHOD,
        solver.RESCALE_INTERVAL,
    )
    return LRMultiplier(optimizer, multiplier=warmup, max_iter=solver.MAX_ITER)


@contextmanager
def configured_rates(optimizer: torch.optim.Optimizer, scheduler: LRMultiplier) -> Iterator[None]:
    """Load the state of both inside, and leave with the learning rates of the config.

    A checkpoint holds the learning rates it was written with. Where the config is still the same,
    these are the same numbers; where ``SOLVER.BASE_LR``, the schedule or its length has changed,
    the config's take their place, at the iteration that was loaded.
    """
    groups = [{k: v for k, v in g.items() if k != "params"} for g in optimizer.param_groups]
    base_lrs = list(scheduler.base_lrs)
    yield
    scheduler.base_lrs = base_lrs
    for group, configured in zip(optimizer.param_groups, groups):
        group.update(configured)
    for group, rate in zip(optimizer.param_groups, scheduler.get_lr()):
        group["lr"] = rate
    scheduler._last_lr = [group["lr"] for group in optimizer.param_groups]
