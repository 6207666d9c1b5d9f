"""Weights to be scored: every one that predictions need, for the classes that the config names."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode

from ..coordination import is_under
from ..data.formats.class_names import ClassIndex, shorten
from ..errors import UserError
from .checkpoint import load_weights
from .durable_checkpointer import DurableCheckpointer, class_names

logger = logging.getLogger(__name__)


def load_to_evaluate(checkpointer: DurableCheckpointer, cfg: CfgNode, *, resume: bool) -> None:
    """Load ``MODEL.WEIGHTS``, or the newest checkpoint of the run, into the checkpointer's model.

    Training takes what fits of a file, as fine-tuning on other classes needs. A score of a model
    whose rest is random says nothing, nor does one whose outputs stand for other classes.

    Raises:
        UserError: no such weights; they leave a parameter unset that is no discriminator's; they
            were trained with the config's classes in another order.
    """
    about: Mapping[str, Any]
    if resume:
        about, where = checkpointer.evaluate_last()
    else:
        where = cfg.MODEL.WEIGHTS
        about = _load_all(checkpointer, where)
    check_classes(about.get("classes") or (), class_names(cfg), where)


def check_classes(theirs: Sequence[str], ours: Sequence[str], where: str) -> None:
    """Compare the classes that weights were trained with and those that they shall be scored by.

    Args:
        theirs, ours: names in the order of the outputs; empty where they are not known.
        where: the weights, for messages.

    Raises:
        UserError: a class has another number. Other names in the same place are a warning.
    """
    index = ClassIndex(ours)
    for number, (name, own) in enumerate(zip(theirs, ours)):
        found = index.find(name)
        if found is None:
            logger.warning("%s calls %r what this config calls %r", where, name, own)
        elif found != number:
            raise UserError(
                f"{where} was trained with the classes {shorten(theirs)}, in this order, and this "
                f"config has {shorten(ours)}: the scores would be other classes'. Set "
                f"DATASETS.CLASSES to {list(theirs)}"
            )


def _load_all(checkpointer: DurableCheckpointer, path: str) -> Mapping[str, Any]:
    model = checkpointer.model
    owned: Callable[[], Sequence[str]] = getattr(model, "discriminator_prefixes", tuple)
    # Context vectors come from discriminators, and predictions depend on them.
    spared = () if getattr(model, "context_from", None) else owned()
    needed = {
        name: tensor
        for name, tensor in model.state_dict().items()  # which shares the model's memory
        if tensor.is_floating_point() and not any(is_under(name, prefix) for prefix in spared)
    }
    with torch.no_grad():
        for tensor in needed.values():
            tensor.fill_(math.nan)
    about = load_weights(checkpointer, path)
    unset = [name for name, tensor in needed.items() if tensor.isnan().all()]
    if unset:
        raise UserError(
            f"--eval-only: {path} holds no finite value of {len(unset)} of {len(needed)} "
            f"weights of this model, for one {unset[0]}; are the MODEL keys and the number of "
            "classes those that it was trained with?"
        )
    return about
