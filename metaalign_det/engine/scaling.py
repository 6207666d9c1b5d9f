"""A config that is written for one number of processes, run on another: linear scaling.

With s = processes / ``SOLVER.REFERENCE_WORLD_SIZE``, so that a process gets as many images as
before, and training passes over the data as often:

===================== ===============================================================
batches               times s: IMS_PER_BATCH, IMS_PER_BATCH_TARGET
rates of SGD          times s: BASE_LR, BASE_LR_END, METAALIGN.BETA.LR, and
                      DISCRIMINATOR.BASE_LR unless its optimizer is Adam
rate of Adam          times sqrt(s) (Malladi et al., NeurIPS 2022)
steps                 over s: MAX_ITER, STEPS, WARMUP_ITERS, EVAL_PERIOD, CHECKPOINT_PERIOD,
                      VIS_PERIOD, ADAPTATION.BURN_IN, ALIGN.SCHEDULE_STEPS, EMA.START_ITER,
                      TEACHER.START_ITER, METAALIGN.START_ITER and WARMUP_ITERS
INVERSE_GAMMA         times s, being a rate per step
EMA.DECAY             to the power of s (Busbridge et al., NeurIPS 2023)
GRADVAC_BETA          1 - (1 - b)^s, being the share of one step in a running mean
METAALIGN.META_LR     over s where it is a multiple of the learning rate (ALPHA "lr"): alpha
                      belongs to the objective and not to the optimizer, and stays what it was
===================== ===============================================================

Detectron2's :meth:`DefaultTrainer.auto_scale_workers` does the first lines of each for supervised
training. Weights of losses, momentum, weight decay, clipping, and the periods of what is only
logged stay.
"""

from __future__ import annotations

import logging

from detectron2.config import CfgNode
from detectron2.engine import DefaultTrainer

from ..config_files import dotted_keys
from ..errors import UserError

logger = logging.getLogger(__name__)

#: Numbers of steps beside Detectron2's; 0 has a meaning of its own and stays.
_STEPS = (
    "VIS_PERIOD",
    "ADAPTATION.BURN_IN",
    "MODEL.ALIGN.SCHEDULE_STEPS",
    "EMA.START_ITER",
    "TEACHER.START_ITER",
    "METAALIGN.START_ITER",
    "METAALIGN.WARMUP_ITERS",
)
#: Numbers of steps that Detectron2 scales, and would round to 0: never, or a division by it.
_PERIODS = ("SOLVER.MAX_ITER", "SOLVER.CHECKPOINT_PERIOD", "TEST.EVAL_PERIOD")
#: Learning rates of SGD beside BASE_LR.
_RATES = ("SOLVER.BASE_LR_END", "SOLVER.INVERSE_GAMMA", "METAALIGN.BETA.LR")


def scale_to_processes(cfg: CfgNode, processes: int, *, quiet: bool = False) -> CfgNode:
    """The config for so many processes: itself if it is written for them, or for any (0).

    Args:
        cfg: frozen or not, as the result will be.
        processes: how many there are.
        quiet: do not log what changes.

    Raises:
        UserError: a batch that does not fall into ``SOLVER.REFERENCE_WORLD_SIZE`` equal parts.
    """
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference in (0, processes):
        return cfg
    for key in ("IMS_PER_BATCH", "IMS_PER_BATCH_TARGET"):
        if reference < 0 or cfg.SOLVER[key] % reference:
            raise UserError(
                f"SOLVER.REFERENCE_WORLD_SIZE is {reference}: the number of processes that the "
                f"config is written for, and SOLVER.{key} = {cfg.SOLVER[key]} must be a multiple "
                "of it; 0 = take the config as it is on any number"
            )
    scaled = DefaultTrainer.auto_scale_workers(cfg, processes)
    scaled.defrost()
    scale = processes / reference
    scaled.SOLVER.IMS_PER_BATCH_TARGET = cfg.SOLVER.IMS_PER_BATCH_TARGET * processes // reference
    for key in (*_STEPS, *_PERIODS):
        before = _get(cfg, key)
        _set(scaled, key, max(1, round(before / scale)) if before > 0 else before)
    for key in _RATES:
        _set(scaled, key, _get(cfg, key) * scale)
    adam = cfg.SOLVER.DISCRIMINATOR.OPTIMIZER.upper() == "ADAM"
    scaled.SOLVER.DISCRIMINATOR.BASE_LR *= scale**0.5 if adam else scale
    scaled.EMA.DECAY **= scale
    scaled.ADAPTATION.GRADVAC_BETA = 1 - (1 - cfg.ADAPTATION.GRADVAC_BETA) ** scale
    if cfg.METAALIGN.ALPHA == "lr":
        scaled.METAALIGN.META_LR /= scale
    if cfg.is_frozen():
        scaled.freeze()
    if quiet:
        return scaled
    written = dict(dotted_keys(cfg))
    changes = [
        f"  {key} {_shown(written[key])} -> {_shown(value)}"
        for key, value in dotted_keys(scaled)
        if written[key] != value and not isinstance(value, CfgNode)
    ]
    logger.info(
        "the config is written for %d process(es) and there are %d (SOLVER.REFERENCE_WORLD_SIZE): "
        "batches, learning rates and schedules are scaled, and the passes over the data stay\n%s",
        reference,
        processes,
        "\n".join(changes),
    )
    return scaled


def _get(cfg: CfgNode, key: str) -> int | float:
    nodes, _, name = key.rpartition(".")
    return _node(cfg, nodes)[name]


def _set(cfg: CfgNode, key: str, value: int | float) -> None:
    nodes, _, name = key.rpartition(".")
    _node(cfg, nodes)[name] = value


def _node(cfg: CfgNode, path: str) -> CfgNode:
    for name in filter(None, path.split(".")):
        cfg = cfg[name]
    return cfg


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
