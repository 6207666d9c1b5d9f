"""VGG16 (Simonyan and Zisserman, ICLR 2015) as backbone and box head of a Faster R-CNN.

Shape shorthand: N images, R regions, (H, W) of the image.

The backbone is everything up to and including conv5_3 and its ReLU, without the last pooling, as
in the original Faster R-CNN; fc6 and fc7 are the box head. Layers carry the names of the original
Caffe model, ``conv3_1`` and so on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import fvcore.nn.weight_init as weight_init
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from detectron2.modeling.roi_heads import ROI_BOX_HEAD_REGISTRY
from torch import Tensor, nn

from ...errors import UserError

# (output channels, number of convolutions) of conv1 .. conv5.
_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
_NAMES = tuple(f"conv{i}" for i in range(1, len(_STAGES) + 1))
# Index in torchvision's vgg16().features of each convolution, in order.
_TORCHVISION_FEATURES = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
_TORCHVISION_CLASSIFIER = {"classifier.0": "fc6", "classifier.3": "fc7"}


class _Stage(CNNBlockBase):
    """3x3 convolutions with ReLU, after a 2x2 max pooling in every stage but the first."""

    def __init__(self, number: int, in_channels: int, out_channels: int, depth: int) -> None:
        super().__init__(in_channels, out_channels, stride=1 if number == 1 else 2)
        for i in range(1, depth + 1):
            conv = Conv2d(in_channels, out_channels, kernel_size=3, padding=1)
            weight_init.c2_msra_fill(conv)
            self.add_module(f"conv{number}_{i}", conv)
            in_channels = out_channels

    def forward(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            x = F.max_pool2d(x, kernel_size=2, stride=2)
        for conv in self.children():
            x = F.relu_(conv(x))
        return x


class VGG16(Backbone):
    """
    Args:
        in_channels: channels of the image.
        out_features: stages whose output is returned, of ``conv1`` .. ``conv5``, with strides 1,
            2, 4, 8, 16 and 64, 128, 256, 512, 512 channels.
        freeze_at: number of stages at the beginning that are not trained; the usual 2 freezes
            conv1 and conv2.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_features: Sequence[str] = ("conv3", "conv4", "conv5"),
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        unknown = [name for name in out_features if name not in _NAMES]
        if unknown or not out_features:
            raise UserError(f"VGG16 has the outputs {', '.join(_NAMES)}, got {list(out_features)}")
        if not 0 <= freeze_at <= len(_NAMES):
            raise UserError(
                f"MODEL.BACKBONE.FREEZE_AT must be 0 to {len(_NAMES)} for VGG16, got {freeze_at}"
            )
        self._out_features = list(out_features)
        self._out_feature_channels: dict[str, int] = {}
        self._out_feature_strides: dict[str, int] = {}
        stride = 1
        for number, (name, (channels, depth)) in enumerate(zip(_NAMES, _STAGES), start=1):
            stage = _Stage(number, in_channels, channels, depth)
            stride *= stage.stride
            self._out_feature_channels[name] = channels
            self._out_feature_strides[name] = stride
            if number <= freeze_at:
                stage.freeze()
            self.add_module(name, stage)
            in_channels = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """
        Args:
            x (Tensor): shape (N, in_channels, H, W), H and W at least 16.

        Returns:
            dict[str, Tensor]: each of ``out_features``; sizes are H and W over its stride,
            rounded down.
        """
        outputs = {}
        for name in _NAMES:
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage groups, from the input on: name -> prefixes of parameter names in this module.

        conv1 and conv2, usually frozen together, are one group, as stem and res2 are in a ResNet.
        """
        return {
            "conv1+conv2": ("conv1", "conv2"),
            "conv3": ("conv3",),
            "conv4": ("conv4",),
            "conv5": ("conv5",),
        }


@BACKBONE_REGISTRY.register()
def build_vgg16_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> VGG16:
    """VGG16 with the outputs conv3, conv4, conv5, frozen by ``MODEL.BACKBONE.FREEZE_AT``."""
    return VGG16(input_shape.channels, freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT)


@ROI_BOX_HEAD_REGISTRY.register()
class VGG16BoxHead(nn.Module):
    """fc6 and fc7 of VGG16, each with ReLU and dropout.

    To take ImageNet weights it needs 512 x 7 x 7 input, that is ``POOLER_RESOLUTION`` 7 on conv5,
    and ``FC_DIM`` 4096.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, fc_dim: int = 4096, dropout: float = 0.5) -> None:
        """
        Args:
            input_shape: channels, height and width of a pooled region.
            fc_dim: width of both layers.
            dropout: probability after each of them, in [0, 1).
        """
        super().__init__()
        if not 0 <= dropout < 1:
            raise UserError(f"MODEL.VGG16.DROPOUT must be in [0, 1), got {dropout}")
        self.fc6 = nn.Linear(input_shape.channels * input_shape.height * input_shape.width, fc_dim)
        self.fc7 = nn.Linear(fc_dim, fc_dim)
        self.dropout = dropout
        for layer in (self.fc6, self.fc7):
            weight_init.c2_xavier_fill(layer)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {
            "input_shape": input_shape,
            "fc_dim": cfg.MODEL.ROI_BOX_HEAD.FC_DIM,
            "dropout": cfg.MODEL.VGG16.DROPOUT,
        }

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x (Tensor): pooled regions, shape (R, C, h, w).

        Returns:
            Tensor: shape (R, fc_dim).
        """
        x = x.flatten(start_dim=1)
        for layer in (self.fc6, self.fc7):
            x = F.dropout(F.relu_(layer(x)), self.dropout, self.training)
        return x

    @property
    def output_shape(self) -> ShapeSpec:
        return ShapeSpec(channels=self.fc7.out_features)


def is_torchvision_vgg16(state_dict: Mapping[str, object]) -> bool:
    """Whether the keys are those of a VGG16 without BatchNorm in torchvision's naming."""
    convs = {int(k.split(".")[1]) for k in state_dict if k.startswith("features.")}
    return convs == set(_TORCHVISION_FEATURES)


def convert_torchvision_vgg16(
    state_dict: Mapping[str, Tensor],
    backbone: str = "backbone.",
    box_head: str = "roi_heads.box_head.",
) -> dict[str, Tensor]:
    """Torchvision's names to those of :class:`VGG16` and :class:`VGG16BoxHead`; values unchanged.

    ``features.N`` become the convolutions, ``classifier.0`` and ``.3`` become fc6 and fc7, and
    ``classifier.6``, the 1000 ImageNet classes, is left out. The Caffe model is passed around as
    a ``.pth`` with the very same names; what differs is the image: torchvision's wants RGB divided
    by the standard deviation, Caffe's BGR minus (102.9801, 115.9465, 122.7717).

    Args:
        state_dict: of ``torchvision.models.vgg16``, with or without its classifier.
        backbone, box_head: prefixes of the converted names; ``MODEL.ROI_BOX_HEAD`` of another kind
            simply has no place for what comes under the second.

    Raises:
        UserError: these are not the weights of a VGG16 without BatchNorm.
    """
    if not is_torchvision_vgg16(state_dict):
        raise UserError("these are not the weights of a torchvision VGG16 without BatchNorm")
    names = [
        f"{stage}.{stage}_{i}"
        for stage, (_, depth) in zip(_NAMES, _STAGES)
        for i in range(1, depth + 1)
    ]
    modules = {f"features.{n}": backbone + new for n, new in zip(_TORCHVISION_FEATURES, names)}
    modules.update({old: box_head + new for old, new in _TORCHVISION_CLASSIFIER.items()})
    converted = {}
    for key, value in state_dict.items():
        module, _, parameter = key.rpartition(".")
        if module in modules:
            converted[f"{modules[module]}.{parameter}"] = value
    return converted
