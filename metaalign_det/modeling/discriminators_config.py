"""The detector's domain discriminators from ``MODEL.DA``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import nn

from ..alignment.discriminators import (
    GlobalDiscriminator,
    InstanceDiscriminator,
    LocalDiscriminator,
)
from ..alignment.domain_losses import DOMAIN_LOSSES
from ..config_files import meant_or_plugged_in
from ..errors import UserError

_HEADS = "set MODEL.ROI_HEADS.NAME to ContextRes5ROIHeads or ContextStandardROIHeads"


@dataclass(frozen=True)
class Alignment:
    """How one discriminator is used.

    Args:
        feature: name of the backbone output it looks at ("roi" for regions).
        weight: lambda >= 0.
        loss: a key of ``DOMAIN_LOSSES``.
        gamma: focusing exponent of the focal loss.
    """

    feature: str
    weight: float = 1.0
    loss: str = "bce"
    gamma: float = 5.0


def discriminators_from_config(
    cfg: CfgNode, features: Mapping[str, ShapeSpec], roi_heads: nn.Module
) -> tuple[dict[str, nn.Module], dict[str, Alignment]]:
    """The discriminators that ``MODEL.DA`` switches on, and how each is used.

    Args:
        cfg: a config with the keys of ``add_metaalign_config``.
        features: outputs of the backbone.
        roi_heads: where "instance" gets its region features, and context vectors go.

    Returns:
        two dicts with the same keys, any of "local", "global" and "instance".

    Raises:
        UserError: a value that does not exist or is out of range, a feature map that the backbone
            does not give, RoI heads that cannot do what is asked of them.
    """
    da = cfg.MODEL.DA
    nodes = {k: da[k.upper()] for k in ("local", "global", "instance") if da[k.upper()].ENABLED}
    discriminators = {}
    for name, node in nodes.items():
        _check(name, node)
        if name == "instance":
            _check_roi_heads("MODEL.DA.INSTANCE", "give region features", roi_heads)
            discriminators[name] = InstanceDiscriminator(roi_heads.roi_feature_dim, node.HIDDEN)
            continue
        if node.FEATURE not in features:
            raise UserError(
                f"MODEL.DA.{name.upper()}.FEATURE: the backbone has no output {node.FEATURE!r}, "
                f"only {', '.join(features)}; see the OUT_FEATURES key of your backbone"
            )
        channels = features[node.FEATURE].channels
        try:
            discriminators[name] = (
                LocalDiscriminator(channels, node.HIDDEN, node.INIT_STD)
                if name == "local"
                else GlobalDiscriminator(channels, node.HIDDEN, node.NORM, node.DROPOUT)
            )
        except ValueError as error:
            raise UserError(f"MODEL.DA.{name.upper()}: {error}") from error
    if da.CONTEXT:
        if not {"local", "global"} & nodes.keys():
            raise UserError("MODEL.DA.CONTEXT needs MODEL.DA.LOCAL or MODEL.DA.GLOBAL enabled")
        _check_roi_heads("MODEL.DA.CONTEXT", "take context vectors", roi_heads)
    alignments = {k: Alignment(n.FEATURE, n.LAMBDA, n.LOSS, n.GAMMA) for k, n in nodes.items()}
    return discriminators, alignments


def _check(name: str, node: CfgNode) -> None:
    key = f"MODEL.DA.{name.upper()}"
    if node.LOSS not in DOMAIN_LOSSES:
        raise UserError(
            f"{key}.LOSS: {node.LOSS!r} is none of {', '.join(DOMAIN_LOSSES)}"
            f"{meant_or_plugged_in(node.LOSS, DOMAIN_LOSSES)}"
        )
    for option in ("LAMBDA", "GAMMA", *(("INIT_STD",) if name == "local" else ())):
        if node[option] < 0:
            raise UserError(f"{key}.{option} must be >= 0, got {node[option]}")
    if not node.HIDDEN or min(node.HIDDEN) < 1:
        raise UserError(f"{key}.HIDDEN needs at least one width, got {list(node.HIDDEN)}")
    if name == "instance" and node.ROIS_PER_IMAGE < 1:
        raise UserError(f"{key}.ROIS_PER_IMAGE must be >= 1, got {node.ROIS_PER_IMAGE}")


def _check_roi_heads(key: str, ability: str, roi_heads: nn.Module) -> None:
    if not hasattr(roi_heads, "roi_features"):
        raise UserError(f"{key} needs RoI heads that {ability}: {_HEADS}")
