"""A small convolutional backbone for 32-pixel digits.

The network of Ganin et al. (JMLR 2016, figure 4a) for MNIST -> MNIST-M as a Detectron2 backbone:
5x5 convolutions with ReLU and 2x2 max-pooling, then a fully connected layer. Alignment attaches to
the flattened convolutional features there, before that layer: hence the output ``flat``. Shape
shorthand: N images, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from torch import Tensor, nn

from ...alignment.discriminators import SmallBatchNorm2d
from ...errors import UserError
from ..norms import check_norm

#: Side in cells of the grid that the fully connected stage sees, whatever the image's size.
_GRID = 4


class DigitsNet(Backbone):
    """Stages ``conv1``, ``conv2``, ..., and ``fc``, each a stage group of the lookahead.

    The output ``flat`` is the last convolution's map as a vector, a grid of 4x4 cells by channels.

    Args:
        in_channels: C of the image.
        channels: output channels of the convolutions.
        fc_dim: width of the stage ``fc``, whose output is (N, fc_dim, 1, 1); 0 = no such stage.
        norm: "" or the name of a norm after each layer.
        stride: of the first convolution, before its pooling; 2 makes a step four times cheaper.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: Sequence[int] = (32, 48),
        fc_dim: int = 128,
        norm: str = "",
        stride: int = 1,
    ) -> None:
        super().__init__()
        if not channels or min(channels) < 1 or fc_dim < 0 or stride < 1:
            raise UserError(
                "MODEL.DIGITS_NET needs at least one positive number in CHANNELS, FC_DIM >= 0 and "
                f"STRIDE >= 1, got {list(channels)}, {fc_dim} and {stride}"
            )
        check_norm(
            "MODEL.DIGITS_NET.NORM",
            norm,
            [*channels, fc_dim],
            "make MODEL.DIGITS_NET.CHANNELS and FC_DIM multiples of 32, or take another norm (BN)",
        )
        self.conv_names = tuple(f"conv{i}" for i in range(1, len(channels) + 1))
        widths = [in_channels, *channels]
        for name, a, b in zip(self.conv_names, widths[:-1], widths[1:]):
            step = stride if name == "conv1" else 1
            self.add_module(name, _layer(a, b, kernel_size=5, padding=2, norm=norm, stride=step))
        self.fc = _layer(widths[-1], fc_dim, kernel_size=_GRID, norm=norm) if fc_dim else None

        self._out_features = [*self.conv_names, "flat", *(["fc"] if fc_dim else [])]
        strides = {name: stride * 2**i for i, name in enumerate(self.conv_names, start=1)}
        whole = _GRID * strides[self.conv_names[-1]]
        self._out_feature_strides = {**strides, "flat": whole, "fc": whole}
        self._out_feature_channels = {
            **dict(zip(self.conv_names, channels)),
            "flat": _GRID * _GRID * channels[-1],
            "fc": fc_dim,
        }

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """
        Args:
            x (Tensor): shape (N, C, H, W), sides of at least ``2 ** len(channels)`` pixels.

        Returns:
            dict[str, Tensor]: name -> output; those of ``flat`` and ``fc`` have sides 1.
        """
        outputs = {}
        for name in self.conv_names:
            x = outputs[name] = F.max_pool2d(getattr(self, name)(x), 2)
        grid = F.adaptive_avg_pool2d(x, _GRID)
        outputs["flat"] = grid.flatten(1)[:, :, None, None]
        if self.fc is not None:
            outputs["fc"] = self.fc(grid)
        return outputs

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            name: ShapeSpec(
                channels=self._out_feature_channels[name], stride=self._out_feature_strides[name]
            )
            for name in self._out_features
        }

    def stages(self) -> dict[str, tuple[str, ...]]:
        """Stage group -> prefixes of its parameters' names, relative to the backbone."""
        return {name: (name,) for name in self._out_features if name != "flat"}


def _layer(
    a: int, b: int, *, kernel_size: int, norm: str, padding: int = 0, stride: int = 1
) -> Conv2d:
    conv = Conv2d(
        a,
        b,
        kernel_size,
        padding=padding,
        stride=stride,
        bias=not norm,
        norm=get_norm(SmallBatchNorm2d if norm == "BN" else norm, b),
        activation=nn.ReLU(),
    )
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


@BACKBONE_REGISTRY.register()
def build_digits_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> DigitsNet:
    """A :class:`DigitsNet` from ``MODEL.DIGITS_NET``."""
    node = cfg.MODEL.DIGITS_NET
    return DigitsNet(input_shape.channels, node.CHANNELS, node.FC_DIM, node.NORM, node.STRIDE)
