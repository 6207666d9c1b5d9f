"""Names in a config that stand for parts of a model: are there such parts?"""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, ROI_HEADS_REGISTRY
from detectron2.modeling.anchor_generator import ANCHOR_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.build import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.proposal_generator.rpn import RPN_HEAD_REGISTRY
from detectron2.modeling.roi_heads.box_head import ROI_BOX_HEAD_REGISTRY
from fvcore.common.registry import Registry

from ..config_files import did_you_mean, dotted_keys
from ..errors import UserError

#: Key -> where its name is registered.
REGISTRIES: dict[str, Registry] = {
    "MODEL.META_ARCHITECTURE": META_ARCH_REGISTRY,
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.ANCHOR_GENERATOR.NAME": ANCHOR_GENERATOR_REGISTRY,
    "MODEL.PROPOSAL_GENERATOR.NAME": PROPOSAL_GENERATOR_REGISTRY,
    "MODEL.RPN.HEAD_NAME": RPN_HEAD_REGISTRY,
    "MODEL.ROI_HEADS.NAME": ROI_HEADS_REGISTRY,
    "MODEL.ROI_BOX_HEAD.NAME": ROI_BOX_HEAD_REGISTRY,
}
#: What Detectron2's builders know beside the registries; "" leaves the part out.
_ALSO_LEGAL = ("", "PrecomputedProposals")

#: Backbones of Detectron2's that read MODEL.RESNETS.DEPTH, and its values.
_RESNETS = ("build_resnet_backbone", "build_resnet_fpn_backbone")
RESNET_DEPTHS = (18, 34, 50, 101, 152)


def check_names(cfg: CfgNode) -> None:
    """Every name of a part of the model is registered, and a ResNet has a depth that exists.

    Call it when ``metaalign_det.modeling``, and whatever registers parts of the user's own, has
    been imported.

    Raises:
        UserError: names the key, its value, and the names that are spelled like it.
    """
    values = dict(dotted_keys(cfg))
    for key, registry in REGISTRIES.items():
        name, known = values[key], [known for known, _ in registry]
        if name not in known and name not in _ALSO_LEGAL:
            hint = did_you_mean(name, known) or f"; there are {', '.join(sorted(known))}"
            raise UserError(
                f"{key} {name!r} is not registered{hint} (a plug-in's is where METAALIGN_PLUGINS "
                "names its module)"
            )
    depth = cfg.MODEL.RESNETS.DEPTH
    if cfg.MODEL.BACKBONE.NAME in _RESNETS and depth not in RESNET_DEPTHS:
        legal = ", ".join(map(str, RESNET_DEPTHS))
        raise UserError(f"MODEL.RESNETS.DEPTH {depth}: there are ResNets of depth {legal}")
