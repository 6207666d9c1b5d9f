"""A ResNet-18 without its last stage, of any width, for detectors that train on a CPU.

Detectron2's builder insists on ``RES2_OUT_CHANNELS`` 64 for basic blocks. This one puts
Detectron2's own stem and blocks together with ``MODEL.MINI_RESNET.WIDTH`` w instead: stem w
(stride 4), res2 w (4), res3 2w (8), res4 4w (16), two blocks each. At w = 64 it is the C4 part
of ResNet-18 (He et al., CVPR 2016), with the same parameter names as Detectron2's.
"""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, ResNet

from ...errors import UserError
from ..norms import check_norm

_OUTPUTS = ("stem", "res2", "res3", "res4")
_BLOCKS_PER_STAGE = 2


@BACKBONE_REGISTRY.register()
def build_mini_resnet_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> ResNet:
    """Build it from ``MODEL.MINI_RESNET.WIDTH``, ``MODEL.RESNETS.{NORM, OUT_FEATURES}`` and
    ``MODEL.BACKBONE.FREEZE_AT`` (as for any ResNet: 1 freezes the stem, 2 res2 too, ...).

    Stages above the last of ``OUT_FEATURES`` are not built.

    Raises:
        UserError: width below 1, an output that the network does not have, or a norm that does not
            exist or fit the width.
    """
    width = cfg.MODEL.MINI_RESNET.WIDTH
    norm = cfg.MODEL.RESNETS.NORM
    outputs = list(cfg.MODEL.RESNETS.OUT_FEATURES)
    if width < 1:
        raise UserError(f"MODEL.MINI_RESNET.WIDTH must be at least 1, got {width}")
    check_norm(
        "MODEL.RESNETS.NORM",
        norm,
        [width],  # what divides it divides its multiples, which the stages have
        f"set MODEL.MINI_RESNET.WIDTH, now {width}, to a multiple of 32, or take another norm (BN)",
    )
    unknown = [name for name in outputs if name not in _OUTPUTS]
    if unknown or not outputs:
        raise UserError(
            f"MODEL.RESNETS.OUT_FEATURES: build_mini_resnet_backbone has the outputs "
            f"{', '.join(_OUTPUTS)}, got {outputs}"
        )
    stem = BasicStem(in_channels=input_shape.channels, out_channels=width, norm=norm)
    stages = []
    in_channels = width
    for out_channels, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
        stages.append(
            ResNet.make_stage(
                BasicBlock,
                _BLOCKS_PER_STAGE,
                stride_per_block=[stride] + [1] * (_BLOCKS_PER_STAGE - 1),
                in_channels=in_channels,
                out_channels=out_channels,
                norm=norm,
            )
        )
        in_channels = out_channels
    return ResNet(stem, stages, out_features=outputs, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)
