"""Numbers and words that fit the type of their key and still cannot be."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.utils import comm

from ..errors import UserError

_CLIP_TYPES = ("value", "norm")
_WARMUP_METHODS = ("linear", "constant")
_SEEDS = 2**32  # of numpy's generator


def check_values(cfg: CfgNode) -> None:
    """Before long work: values, most of Detectron2's keys, that would end it badly or late.

    Raises:
        UserError: names the key, its value and the legal ones.
    """
    for key, value, least, meaning in (
        (
            "SOLVER.CHECKPOINT_PERIOD",
            cfg.SOLVER.CHECKPOINT_PERIOD,
            0,
            "the steps between two checkpoints; 0 = one at the end alone",
        ),
        (
            "DATALOADER.NUM_WORKERS",
            cfg.DATALOADER.NUM_WORKERS,
            0,
            "the processes that load images; 0 = none beside the training itself",
        ),
        ("TEST.BATCH_SIZE", cfg.TEST.BATCH_SIZE, 1, "the images at a time in evaluation"),
        (
            "TEST.ADAPTIVE_BN",
            cfg.TEST.ADAPTIVE_BN,
            0,
            "the target batches that statistics are taken from in evaluation; 0 = as trained",
        ),
    ):
        if value < least:
            raise UserError(f"{key} {value}: must be at least {least}, {meaning}")
    if cfg.TEST.ADAPTIVE_BN and not cfg.DATASETS.TARGET:
        raise UserError("TEST.ADAPTIVE_BN needs images: name some in DATASETS.TARGET")
    # Each process adds its number to the seed.
    most = _SEEDS - comm.get_world_size()
    if (seed := cfg.SEED) > most:
        raise UserError(f"SEED {seed}: must be at most {most}; a negative one is drawn anew")
    clip = cfg.SOLVER.CLIP_GRADIENTS
    words = [("SOLVER.WARMUP_METHOD", cfg.SOLVER.WARMUP_METHOD, _WARMUP_METHODS)]
    if clip.ENABLED:
        words.append(("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", clip.CLIP_TYPE, _CLIP_TYPES))
    for key, word, legal in words:
        if word not in legal:
            raise UserError(f"{key} {word!r}: must be one of {', '.join(legal)}")
