"""Weights to start from: found, or explained in one sentence; converted where they need it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager

from ..errors import UserError
from ..modeling.backbone.random_start import temper_random_weights
from ..modeling.weight_files import SUFFIXES
from ..modeling.weights import is_foreign_checkpoint, load_pretrained
from .durable_checkpointer import DurableCheckpointer
from .package_files import register_package_files

register_package_files()


def check_weights(path: str) -> str:
    """The local path of a file of weights, downloaded where it is remote; "" stays "".

    Called before anything is built, so that missing weights end a run at once.

    Raises:
        UserError: the file is missing, or cannot be downloaded. Says where to put it by hand.
    """
    if not path:
        return ""
    remote = "://" in path
    try:
        local = PathManager.get_local_path(path.partition("?")[0])
    except UserError:
        raise
    except Exception as error:
        raise UserError(
            f"MODEL.WEIGHTS: {path} cannot be downloaded ({_reason(error)}). Fetch {_name(path)} "
            "where there is a network, put it anywhere here and set MODEL.WEIGHTS to its path; or "
            'set MODEL.WEIGHTS "" to start from random weights'
        ) from error
    if not remote and not os.path.isfile(local):
        hint = (
            "; it is what configs/mini/pretrain.yaml trains: run that first"
            if "mini" in Path(path).parts and Path(path).name == "model_final.pth"
            else ""
        )
        raise UserError(
            f"MODEL.WEIGHTS: there is no file {path}{hint}; put it there, or set "
            'MODEL.WEIGHTS "" to start from random weights'
        )
    if not local.endswith(SUFFIXES):
        raise UserError(f"MODEL.WEIGHTS: {path} must end in one of {', '.join(SUFFIXES)}")
    return local


def load_weights(checkpointer: DurableCheckpointer, path: str) -> Mapping[str, Any]:
    """Load weights, and nothing else of a checkpoint, into the checkpointer's model.

    Files of Detectron2 and of this package go through Detectron2's checkpointer, torchvision's
    and EfficientNet's through :func:`~metaalign_det.modeling.weights.load_pretrained`. Weights of
    another shape are passed over, as fine-tuning on other classes needs; that nothing at all fits
    is an error.

    Args:
        checkpointer: of the model.
        path: as ``MODEL.WEIGHTS``; "" loads nothing, and makes random weights under FrozenBN
            trainable.

    Returns:
        Mapping: what a checkpoint of this package says of its run
        (:func:`~.durable_checkpointer.describe_run`); empty for other files.

    Raises:
        UserError: the file is missing, damaged, holds more than weights, or fits nowhere.
    """
    local = check_weights(path)
    if not local:
        temper_random_weights(checkpointer.model)
        return {}
    if is_foreign_checkpoint(local):
        load_pretrained(checkpointer.model, local)
        return {}
    about = checkpointer.resume_or_load(path, resume=False).get("metaalign")
    return about if isinstance(about, Mapping) else {}


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", "") or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
