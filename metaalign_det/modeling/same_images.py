"""Whether a batch of images has come before."""

from __future__ import annotations

import torch
from detectron2.structures import ImageList


def same_images(a: ImageList | None, b: ImageList | None) -> bool:
    """Whether two preprocessed batches are of the same images: their pixels, not their objects.

    Each pass of a step may preprocess its images anew. None is the same as None alone.
    """
    if a is None or b is None or a is b:
        return a is b
    return a.image_sizes == b.image_sizes and torch.equal(a.tensor, b.tensor)
