"""A new backbone: patches, then mixing blocks, with its own idea of what its stages are.

After ConvMixer (Trockman and Kolter, 2022). CONTRIBUTING.md walks through this file; in the package
it would be ``metaalign_det/modeling/backbone/patches.py``.

Shape shorthand: N images, C channels.
"""

from __future__ import annotations

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

PATCH = 8  # pixels


class PatchMixer(Backbone):
    """Patches of 8 pixels, and ``depth`` blocks of a depthwise and a pointwise convolution.

    Outputs: ``patches``, the embedded patches, and ``mixed``, after all blocks; both of stride 8.

    Args:
        in_channels: of the image.
        width: C of both outputs.
        depth: number of blocks.
    """

    def __init__(self, in_channels: int = 3, width: int = 32, depth: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(in_channels, width, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(_Block(width) for _ in range(depth))
        self.width = width

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """
        Args:
            x (Tensor): shape (N, in_channels, H, W), H and W multiples of 8.

        Returns:
            dict[str, Tensor]: name -> shape (N, C, H / 8, W / 8).
        """
        patches = mixed = F.gelu(self.patches(x))
        for block in self.blocks:
            mixed = block(mixed)
        return {"patches": patches, "mixed": mixed}

    def output_shape(self) -> dict[str, ShapeSpec]:
        return dict.fromkeys(("patches", "mixed"), ShapeSpec(channels=self.width, stride=PATCH))

    @property
    def size_divisibility(self) -> int:
        return PATCH

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage group -> prefixes of its parameters' names, from the input on."""
        half = len(self.blocks) // 2
        return {
            "patches": ("patches",),
            "early": tuple(f"blocks.{i}" for i in range(half)),
            "late": tuple(f"blocks.{i}" for i in range(half, len(self.blocks))),
        }


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.pointwise = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.pointwise(x + F.gelu(self.depthwise(x))))


@BACKBONE_REGISTRY.register()
def build_patch_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> PatchMixer:
    """A :class:`PatchMixer` of the width in ``MODEL.MINI_RESNET.WIDTH``."""
    return PatchMixer(input_shape.channels, cfg.MODEL.MINI_RESNET.WIDTH)
