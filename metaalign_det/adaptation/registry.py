"""Gradient sources by the name a config gives them.

A new coordinator is a file beside :mod:`.metaalign`, an entry here, and a config node.
"""

from __future__ import annotations

from detectron2.config import CfgNode

from ..config_files import meant_or_plugged_in
from ..errors import UserError
from .contract import AdaptableModel
from .extragradient import ExtragradientGradients
from .joint import JointGradients
from .learning import Learning
from .metaalign import MetaAlignGradients
from .projection import ProjectedGradients
from .smooth_task import SmoothTaskGradients
from .source import GradientSource

#: The legal values of ``ADAPTATION.COORDINATOR``.
GRADIENT_SOURCES: dict[str, type[GradientSource]] = {
    "joint": JointGradients,
    "metaalign": MetaAlignGradients,
    "pcgrad": ProjectedGradients,
    "gradvac": ProjectedGradients,
    "cagrad": ProjectedGradients,
    "mgda": ProjectedGradients,
    "upgrad": ProjectedGradients,
    "nash_mtl": ProjectedGradients,
    "extragradient": ExtragradientGradients,
    "sdat": SmoothTaskGradients,
}


def coordinator_name(cfg: CfgNode) -> str:
    """The coordinator of a config; ``METAALIGN.ENABLED`` is short for "metaalign".

    Raises:
        UserError: an unknown name, or two different coordinators at once.
    """
    name = cfg.ADAPTATION.COORDINATOR
    if name not in GRADIENT_SOURCES:
        raise UserError(
            f"ADAPTATION.COORDINATOR: {name!r} is none of {', '.join(GRADIENT_SOURCES)}"
            f"{meant_or_plugged_in(name, GRADIENT_SOURCES)}"
        )
    if not cfg.METAALIGN.ENABLED:
        return name
    if name not in ("joint", "metaalign"):
        raise UserError(
            f"METAALIGN.ENABLED and ADAPTATION.COORDINATOR {name!r} are two coordinators: set one "
            "of them back (METAALIGN.ENABLED False, or ADAPTATION.COORDINATOR 'joint')"
        )
    return "metaalign"


def build_gradient_source(cfg: CfgNode, model: AdaptableModel) -> GradientSource:
    """What computes the gradients of a training.

    Args:
        cfg: with the keys of ``add_metaalign_config``.
        model: to be trained, unwrapped.

    Raises:
        UserError: a value that does not exist or is out of range, or that does not fit the model.
    """
    name = coordinator_name(cfg)
    return GRADIENT_SOURCES[name].from_config(cfg, model, Learning.from_config(cfg, model))
