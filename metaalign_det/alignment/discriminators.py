"""Domain discriminators: per pixel (local), per image (global), per region, and for vectors.

Shape shorthand: N images, R regions, C channels, D domains. None of them reverses a gradient: that
is for whoever feeds them. Each declares ``num_outputs``, the width of its logits; a single output
is the logit of "target" (see :mod:`.domain_losses`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def masked_mean(x: Tensor, valid: Tensor | None) -> Tensor:
    """Mean over positions, (N, C, H, W) -> (N, C), of those where ``valid`` (N, 1, H, W) is 1."""
    if valid is None:
        return x.mean(dim=(2, 3))
    return (x * valid).sum(dim=(2, 3)) / valid.sum(dim=(2, 3))


class LocalDiscriminator(nn.Module):
    """One decision per position: 1x1 convolutions with ReLU between (Saito et al. 2019).

    There are no biases, as in the authors' code, whose weights are drawn from N(0, 0.01) on a
    ResNet and left at PyTorch's default on VGG16. Three layers of the first pass on about a
    hundredth of the gradient that three of the second do until they have grown.

    Args:
        in_channels: C of the feature map.
        hidden: channels of the hidden layers; the published ones are (256, 128) on res2.
        init_std: standard deviation of the initial weights; 0 = PyTorch's default.
    """

    num_outputs = 1

    def __init__(
        self, in_channels: int, hidden: Sequence[int] = (256, 128), init_std: float = 0.01
    ) -> None:
        super().__init__()
        widths = _checked(in_channels, hidden)
        if init_std < 0:
            raise ValueError(f"init_std must be >= 0, got {init_std}")
        self.hidden = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=1, bias=False) for a, b in zip(widths[:-1], widths[1:])
        )
        self.predictor = nn.Conv2d(widths[-1], 1, kernel_size=1, bias=False)
        #: Width of the pooled feature that :meth:`forward` returns.
        self.feature_dim = widths[-1]
        if init_std:
            for conv in (*self.hidden, self.predictor):
                nn.init.normal_(conv.weight, std=init_std)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """
        Args:
            x (Tensor): shape (N, C, H, W).
            valid (Tensor): shape (N, 1, H, W), 1 where the image is and 0 where it was padded to
                the size of the batch; None = everywhere.

        Returns:
            tuple: logits (Tensor): shape (N, 1, H, W); feature (Tensor): shape (N, hidden[-1]),
            the last hidden layer averaged over valid positions, the local context vector.
        """
        for conv in self.hidden:
            x = F.relu(conv(x))
        return self.predictor(x), masked_mean(x, valid)


class GlobalDiscriminator(nn.Module):
    """One decision per image: 3x3 stride-2 convolutions, average pool, linear (Saito et al. 2019).

    Each convolution is followed by its norm, ReLU and dropout. Initial weights are PyTorch's
    default, as in the authors' code. Padding 1 makes every map size from 1x1 up legal.

    Args:
        in_channels: C of the feature map.
        hidden: channels of the convolutions; the published ones are (512, 128, 128) on res4.
        norm: "BN" (published), "GN" (one group per 32 channels or fewer, indifferent to the batch
            size) or "".
        dropout: probability after each convolution.
    """

    num_outputs = 2

    def __init__(
        self,
        in_channels: int,
        hidden: Sequence[int] = (512, 128, 128),
        norm: str = "BN",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if norm not in ("BN", "GN", ""):
            raise ValueError(f"norm of the global discriminator must be BN, GN or '', got {norm!r}")
        widths = _checked(in_channels, hidden)
        self.blocks = nn.ModuleList()
        for a, b in zip(widths[:-1], widths[1:]):
            conv = nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1, bias=not norm)
            layers = [conv, _norm(norm, b), nn.ReLU(), nn.Dropout(dropout)]
            self.blocks.append(nn.Sequential(*(layer for layer in layers if layer is not None)))
        self.predictor = nn.Linear(widths[-1], self.num_outputs)
        #: Width of the pooled feature that :meth:`forward` returns.
        self.feature_dim = widths[-1]

    def forward(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """
        Args:
            x (Tensor): shape (N, C, H, W), any H, W >= 1.
            valid (Tensor): as for :class:`LocalDiscriminator`; padding counts as zeros.

        Returns:
            tuple: logits (Tensor): shape (N, 2); feature (Tensor): shape (N, hidden[-1]), the
            global context vector.
        """
        for block in self.blocks:
            if valid is not None:
                x = x * valid
                valid = valid[:, :, ::2, ::2]
            x = block(x)
        feature = masked_mean(x, valid)
        return self.predictor(feature), feature


class InstanceDiscriminator(nn.Module):
    """One decision per region of interest: a ReLU MLP (Chen et al., CVPR 2018, section 4.2).

    Hidden weights are drawn from N(0, 0.01) and those of the predictor from N(0, 0.05), biases are
    0, the initialisation that domain-adaptive Faster R-CNNs share.

    Args:
        in_features: C of the flat region feature.
        hidden: widths of the hidden layers.
        dropout: probability after each hidden layer.
    """

    num_outputs = 1

    def __init__(
        self, in_features: int, hidden: Sequence[int] = (256, 256), dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.mlp = _mlp(in_features, hidden, self.num_outputs, dropout)
        *inner, last = (m for m in self.mlp if isinstance(m, nn.Linear))
        for layer in (*inner, last):
            nn.init.normal_(layer.weight, std=0.05 if layer is last else 0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x (Tensor): shape (R, C), R = 0 included.

        Returns:
            Tensor: logits, shape (R, 1).
        """
        return self.mlp(x)


class VectorDiscriminator(nn.Module):
    """One decision per vector, for classifiers: a ReLU MLP with dropout (Long et al. 2018).

    Initial weights are Kaiming normal and biases 0, as in the GVB and MetaAlign code (CDAN's has
    Xavier normal, smaller by about the square root of 2).

    Args:
        in_features: C of the vector.
        hidden: widths of the hidden layers.
        dropout: probability after each hidden layer.
        num_domains: D; two give a single logit, more give D logits.
    """

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int] = (1024, 1024),
        dropout: float = 0.5,
        num_domains: int = 2,
    ) -> None:
        super().__init__()
        if num_domains < 2:
            raise ValueError(f"a discriminator tells at least 2 domains apart, got {num_domains}")
        self.num_outputs = 1 if num_domains == 2 else num_domains
        self.mlp = _mlp(in_features, hidden, self.num_outputs, dropout)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """
        Args:
            x (Tensor): shape (N, C).

        Returns:
            Tensor: logits, shape (N, num_outputs).
        """
        return self.mlp(x)


class SmallBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm that normalises a single 1x1 value per channel by its running statistics.

    One value has no variance, and torch raises on it in training mode. A discriminator meets it
    with one image and three stride-2 convolutions on a map of up to 8x8, a fully connected layer of
    a backbone where a teacher has labelled one image.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


def _norm(name: str, channels: int) -> nn.Module | None:
    if name == "BN":
        return SmallBatchNorm2d(channels)
    if name == "GN":
        groups = max(1, channels // 32)
        return nn.GroupNorm(groups if channels % groups == 0 else 1, channels)
    return None


def _mlp(in_features: int, hidden: Sequence[int], out: int, dropout: float) -> nn.Sequential:
    widths = _checked(in_features, hidden)
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-1], widths[1:]):
        layers += [nn.Linear(a, b), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    return nn.Sequential(*layers, nn.Linear(widths[-1], out))


def _checked(in_features: int, hidden: Sequence[int]) -> list[int]:
    widths = [in_features, *hidden]
    if not hidden or min(widths) < 1:
        raise ValueError(
            f"a discriminator needs at least one hidden layer and positive widths, got {widths}"
        )
    return widths
