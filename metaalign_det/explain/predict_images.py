"""Images as anybody has them, in memory or in a file, to pixels that a model can be given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.views.images import read_image, to_rgb
from ..errors import UserError

#: An image: the path of a file, an array (H, W, 3) or (H, W) of uint8, or Pillow's.
ImageLike = str | Path | NDArray | Image.Image


def as_rgb(image: ImageLike, order: str = "RGB") -> NDArray:
    """Any image as an array (H, W, 3) of uint8, RGB; as a person sees it.

    Files and Pillow images are converted in the same way (:mod:`..data.views.images`). But only a
    file is turned upright by its EXIF orientation: boxes are in the pixels of what was given.

    Args:
        image: path, array or Pillow image; a grey array (H, W) is spread over three channels.
        order: of the channels of an array, "RGB" or "BGR".

    Raises:
        UserError: it cannot be read, or an array has another shape or type.
    """
    if order not in ("RGB", "BGR"):
        raise UserError(f"the order of channels is RGB or BGR, not {order!r}")
    if isinstance(image, str | Path):
        return read_image(image, format="RGB")
    if isinstance(image, Image.Image):
        return to_rgb(image)
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or array.shape[2:] not in ((), (3,)):
        raise UserError(
            f"{describe_image(image)} is none: arrays are uint8 of shape (H, W, 3) or (H, W)"
        )
    if array.ndim == 2:
        return np.repeat(array[:, :, None], 3, axis=2)
    return array[:, :, ::-1] if order == "BGR" else array


def describe_image(image: ImageLike) -> str:
    """What messages call an image: its path, or its size."""
    if isinstance(image, str | Path):
        return f"image {image}"
    if isinstance(image, Image.Image):
        return f"an image of {image.width}x{image.height} pixels"
    return f"an array of shape {np.shape(image)} and type {np.asarray(image).dtype}"
