"""Weights to start from: found, or explained in one sentence; converted where they need it."""

from __future__ import annotations

import os
from pathlib import Path

from detectron2.utils.file_io import PathManager
from fvcore.common.checkpoint import Checkpointer

from ..errors import UserError
from ..modeling.backbone.random_start import temper_random_weights
from ..modeling.weights import is_torchvision_checkpoint, load_pretrained


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
    return local


def load_weights(checkpointer: Checkpointer, path: str) -> None:
    """Load weights, and nothing else of a checkpoint, into the checkpointer's model.

    Files of Detectron2 and of this package go through Detectron2's checkpointer, torchvision's
    through :func:`~metaalign_det.modeling.weights.load_pretrained`.

    Args:
        checkpointer: a ``DetectionCheckpointer``.
        path: as ``MODEL.WEIGHTS``; "" loads nothing, and makes random weights under FrozenBN
            trainable.
    """
    local = check_weights(path)
    if not local:
        temper_random_weights(checkpointer.model)
        return
    if is_torchvision_checkpoint(local):
        load_pretrained(checkpointer.model, local)
        return
    checkpointer.resume_or_load(path, resume=False)


def resume_weights(checkpointer: Checkpointer, folder: str) -> None:
    """Load the last checkpoint of a run, everything that the checkpointer holds.

    Args:
        checkpointer: saves into ``folder``.
        folder: ``OUTPUT_DIR`` of the run, for the message.

    Raises:
        UserError: there is none.
    """
    if not checkpointer.has_checkpoint():
        raise UserError(
            f"--resume: there is no checkpoint in {folder!r}; leave --resume out to start from "
            "MODEL.WEIGHTS, or set OUTPUT_DIR to the run you mean"
        )
    checkpointer.resume_or_load("", resume=True)


def _name(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2]


def _reason(error: Exception) -> str:
    text = str(getattr(error, "reason", "") or error).strip()
    return text.splitlines()[0] if text else type(error).__name__
