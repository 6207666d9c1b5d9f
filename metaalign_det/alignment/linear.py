"""A linear layer initialised as in the published codes of GVB and MetaAlign."""

from __future__ import annotations

from torch import nn


def kaiming_linear(in_features: int, out_features: int) -> nn.Linear:
    """Weights of He et al. (ICCV 2015, normal, fan in), biases 0."""
    layer = nn.Linear(in_features, out_features)
    nn.init.kaiming_normal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
