"""Which settings may differ between a run and its resumption.

======================= ==========================================================================
takes effect            ``SOLVER``: MAX_ITER (not below what is done), BASE_LR, STEPS, GAMMA,
                        LR_SCHEDULER_NAME, WARMUP_FACTOR, WARMUP_ITERS, WARMUP_METHOD,
                        BASE_LR_END, NUM_DECAYS, RESCALE_INTERVAL, INVERSE_GAMMA, INVERSE_POWER,
                        DISCRIMINATOR.BASE_LR. alpha follows the learning rate.
changes nothing learned OUTPUT_DIR, MODEL.WEIGHTS (a resumed run does not read it), MODEL.DEVICE,
                        DATASETS.TEST, ``TEST`` but for PRECISE_BN (where that is on, EVAL_PERIOD
                        says when and of which batches it takes statistics), DATALOADER.NUM_WORKERS,
                        INPUT.CLASSIFICATION.CACHE_MB, INPUT.*_TEST, VIS_PERIOD, CUDNN_BENCHMARK,
                        VERSION, SOLVER.CHECKPOINT_*, METAALIGN.TELEMETRY_PERIOD, VIS.*, LOGGING.*,
                        SOLVER.REFERENCE_WORLD_SIZE (what it scaled is compared)
refused, by name        every other key: what was learned so far would be another run's
======================= ==========================================================================
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from detectron2.config import CfgNode, get_cfg

from ..config import add_metaalign_config
from ..config_files import parse_yaml
from ..errors import UserError

_TAKES_EFFECT = re.compile(
    r"SOLVER\.(MAX_ITER|BASE_LR|STEPS|GAMMA|LR_SCHEDULER_NAME|WARMUP_(FACTOR|ITERS|METHOD)|"
    r"BASE_LR_END|NUM_DECAYS|RESCALE_INTERVAL|INVERSE_(GAMMA|POWER)|DISCRIMINATOR\.BASE_LR)"
)
CHANGES_NOTHING = re.compile(
    r"OUTPUT_DIR|VERSION|VIS_PERIOD|CUDNN_BENCHMARK|MODEL\.(WEIGHTS|DEVICE)|DATASETS\.TEST|"
    r"TEST\.(?!PRECISE_BN\.).*|DATALOADER\.NUM_WORKERS|INPUT\.CLASSIFICATION\.CACHE_MB|"
    r"INPUT\.\w+_TEST|SOLVER\.(CHECKPOINT_\w+|REFERENCE_WORLD_SIZE)|METAALIGN\.TELEMETRY_PERIOD|VIS\..*|LOGGING\..*"
)


def settings_hash(cfg: CfgNode) -> str:
    """Hash of the settings that may not change, the same for the same run wherever it is."""
    fixed = {k: v for k, v in flat_settings(cfg.dump()).items() if not _may_change(k)}
    return hashlib.blake2b(repr(sorted(fixed.items())).encode(), digest_size=16).hexdigest()


def check_settings(saved: dict[str, Any], cfg: CfgNode, path: str) -> list[str]:
    """Compare the settings of a checkpoint with those that it shall go on with.

    Args:
        saved: the checkpoint's entry "metaalign", with "config" and "settings".
        cfg: of the resumed run.
        path: of the checkpoint, for messages.

    Returns:
        what takes effect from here on, each as "KEY old -> new".

    Raises:
        UserError: a setting differs that may not, or fewer iterations are asked for than are
            done. Names the key and both values.
    """
    before, now = flat_settings(saved["config"], path), flat_settings(cfg.dump())
    defaults = _defaults()
    differing = {
        key: (before.get(key, defaults.get(key)), now.get(key))
        for key in sorted({*before, *now})
        # A key that this version is the first to know was at its default.
        if before.get(key, defaults.get(key)) != now.get(key)
    }
    refused = {k: v for k, v in differing.items() if not _may_change(k)}
    if refused:
        shown = "; ".join(f"{k} was {a!r} and is {b!r}" for k, (a, b) in list(refused.items())[:3])
        more = f"; and {len(refused) - 3} more" if len(refused) > 3 else ""
        written_for = differing.get("SOLVER.REFERENCE_WORLD_SIZE", (0, 0))
        if all(written_for):  # scaled by another number of processes
            more += f". It ran in {written_for[0]} process(es): start as many"
        raise UserError(
            f"--resume: {path} was trained with other settings: {shown}{more}; set them back, or "
            "start a new run in another OUTPUT_DIR (from these weights with MODEL.WEIGHTS)"
        )
    done = saved["iteration"] + 1
    if done > cfg.SOLVER.MAX_ITER:
        raise UserError(
            f"--resume: SOLVER.MAX_ITER is {cfg.SOLVER.MAX_ITER}, but {path} has done {done} "
            "iterations; set at least that many, or start anew in another OUTPUT_DIR"
        )
    return [f"{k} {a} -> {b}" for k, (a, b) in differing.items() if _TAKES_EFFECT.fullmatch(k)]


def flat_settings(text: str, path: str = "") -> dict[str, Any]:
    """A config as YAML text, as one dict: "SOLVER.MAX_ITER" -> value.

    Raises:
        UserError: the text is no config.
    """
    tree = parse_yaml(text, f"{path}: the config in it")
    if not isinstance(tree, dict):
        raise UserError(f"{path}: the config in it is no mapping of keys to values")
    return dict(_leaves(tree))


def _leaves(tree: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _may_change(key: str) -> bool:
    return bool(_TAKES_EFFECT.fullmatch(key) or CHANGES_NOTHING.fullmatch(key))


@cache
def _defaults() -> dict[str, Any]:
    cfg = get_cfg()
    add_metaalign_config(cfg)
    return flat_settings(cfg.dump())
