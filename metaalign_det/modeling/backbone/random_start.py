"""Random weights under frozen BatchNorm: bring activations to a scale at which training can start.

``FrozenBatchNorm2d`` normalises by statistics that come with pretrained weights. Without weights
it is the identity, every residual block doubles the variance, and the 33 blocks of a ResNet-101
make features of 1e5 and losses of 1e6 that overflow in the second step.
"""

from __future__ import annotations

import torch
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import nn

# Standard deviation of the pixels of natural images in 0..255, about that of ImageNet.
_PIXEL_STD = 57.0


@torch.no_grad()
def temper_random_weights(model: nn.Module) -> int:
    """Scale the frozen norms of Detectron2 ResNets inside ``model`` in place, for random weights.

    The last norm of each of the L residual blocks gets the weight 1 / sqrt(L), so that the
    variance grows by (1 + 1 / L)^L < e over the network instead of 2^L; and where images are not
    divided by their standard deviation (``pixel_std`` 1, as Caffe's weights want it) the norm of
    the stem does it. Trainable norms are left alone: they need no help. To be called before
    weights are loaded, if any are: the scales are buffers, and a checkpoint replaces them.

    Args:
        model: a detector or a backbone whose frozen norms still are the identity.

    Returns:
        int: the number of norms that were scaled; 0 where nothing is frozen.
    """
    blocks = [m for m in model.modules() if isinstance(m, (BasicBlock, BottleneckBlock))]
    norms = [
        norm
        for block in blocks
        for norm in [getattr(block, "conv3", block.conv2).norm]
        if isinstance(norm, FrozenBatchNorm2d)
    ]
    for norm in norms:
        norm.weight.fill_(len(blocks) ** -0.5)
    scaled = len(norms)
    pixel_std = getattr(model, "pixel_std", None)
    if pixel_std is not None and float(pixel_std.max()) < 2:
        for stem in (m for m in model.modules() if isinstance(m, BasicStem)):
            if isinstance(stem.conv1.norm, FrozenBatchNorm2d):
                stem.conv1.norm.weight.fill_(1 / _PIXEL_STD)
                scaled += 1
    return scaled
