"""Half precision ends where a loss begins."""

from __future__ import annotations

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """Half-precision tensors as float32, others as they are.

    Under autocast a discriminator's logits come in 16 bits. Entropies, ``1 - p`` and sums over a
    batch need more digits than that.
    """
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
