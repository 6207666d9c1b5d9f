"""The stage groups that a config asks for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from detectron2.config import CfgNode
from torch import Tensor

from ..coordination import StageGroups, is_under
from ..errors import UserError
from .contract import AdaptableModel

logger = logging.getLogger(__name__)


def build_stage_groups(cfg: CfgNode, model: AdaptableModel) -> StageGroups:
    """The stage groups that the config asks for; the backbone's own where it names none."""
    node = cfg.METAALIGN
    params = dict(model.named_parameters())
    if not model.aligns:
        raise UserError(
            "METAALIGN.ENABLED or ADAPTATION.COORDINATOR coordinates two objectives, but there is "
            "nothing to align: switch on a discriminator (MODEL.DA.*.ENABLED) or choose "
            "MODEL.ALIGN.METHOD"
        )
    own = not node.STAGES
    try:
        stages = model.backbone_stages() if own else StageGroups.parse(node.STAGES)
    except ValueError as error:
        raise UserError(f"METAALIGN.STAGES: {error}") from None
    if own and not any(_trains(params, prefixes) for prefixes in stages.values()):
        raise UserError(
            "every stage of the backbone is frozen, so that none can be coordinated: lower "
            "MODEL.BACKBONE.FREEZE_AT, or train without a coordinator (METAALIGN.ENABLED False, "
            "ADAPTATION.COORDINATOR 'joint')"
        )
    try:
        groups = StageGroups.from_prefixes(
            stages,
            params,
            drop_frozen=own,
            rest=node.SCOPE == "all",
            rest_factor=node.HEAD_FACTOR,
        )
    except ValueError as error:
        raise UserError(f"METAALIGN.STAGES: {error}") from None
    frozen = [name for name in stages if name not in groups.stages]
    if frozen:
        logger.info(
            "stage groups without a trainable parameter are left out: %s", ", ".join(frozen)
        )
    return groups


def _trains(params: Mapping[str, Tensor], prefixes: Iterable[str]) -> bool:
    """Whether some parameter under one of the prefixes requires gradients."""
    return any(p.requires_grad and is_under(n, x) for n, p in params.items() for x in prefixes)
