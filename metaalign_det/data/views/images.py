"""Images as a person sees them, whatever file they are in.

Detectron2's ``read_image`` converts as Pillow does: 16-bit gray is clipped to white, what is
transparent shows whatever color happens to be below. Here both look as in a picture viewer. On
8-bit color and gray files the two agree.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import UserError
from ..formats.image_headers import open_image, orientation

#: Legal values of ``INPUT.FORMAT`` here, with the channels they have.
IMAGE_FORMATS = {"RGB": 3, "BGR": 3, "L": 1}

# EXIF orientation -> what brings the stored pixels upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: str | Path, format: str = "BGR") -> np.ndarray:
    """Decode an image file.

    Turned upright by its EXIF orientation. Gray of 16 bits is scaled by 255 / 65535; floating
    point in [0, 1] by 255, other floating point and 32-bit integers that exceed their usual range
    are stretched from least to most. What is transparent is composited on white. CMYK, palettes,
    YCbCr and bilevel become RGB. Of an animation, the first frame is read.

    Args:
        path: JPEG, PNG, BMP, WebP, PPM, TIFF or GIF.
        format: order of the channels: "RGB", "BGR" or "L" (gray).

    Returns:
        ndarray: shape (H, W, C), uint8, C = 3, or 1 for "L".

    Raises:
        UserError: the file is missing, damaged, no image, or claims more than
            :data:`..formats.image_headers.MAX_PIXELS` (it is not decoded then); an unknown format.
    """
    if format not in IMAGE_FORMATS:
        raise UserError(f"INPUT.FORMAT must be {', '.join(IMAGE_FORMATS)}, not {format!r}")
    with open_image(path) as (image, _):
        image.load()
        upright = _UPRIGHT.get(orientation(image))
        image = _eight_bits(image)
        if upright is not None:
            image = image.transpose(upright)
        image = _opaque(image)
        pixels = np.asarray(image.convert("L" if format == "L" else "RGB"))
    if format == "L":
        return pixels[:, :, None]
    return pixels[:, :, ::-1] if format == "BGR" else pixels


def to_gray(image: Image.Image) -> np.ndarray:
    """An opened image as :func:`read_image` sees it, gray, as it is stored (not turned upright).

    Args:
        image: of :func:`..formats.image_headers.open_image`, within its ``with`` block.

    Returns:
        ndarray: shape (H, W), uint8.
    """
    return np.asarray(_opaque(_eight_bits(image)).convert("L"))


def to_rgb(image: Image.Image) -> np.ndarray:
    """The same in color: shape (H, W, 3), uint8, RGB."""
    return np.asarray(_opaque(_eight_bits(image)).convert("RGB"))


def _eight_bits(image: Image.Image) -> Image.Image:
    """Gray of more than 8 bits as 8-bit gray; other images as they are."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)
    values = np.nan_to_num(values, posinf=0.0, neginf=0.0)
    low, high = 0.0, 65535.0
    if image.mode == "F":
        high = 1.0 if values.max(initial=0.0) <= 1.0 else 255.0
    if values.min(initial=0.0) < low or values.max(initial=0.0) > high:
        low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255.0 / max(high - low, np.finfo(np.float64).tiny))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def _opaque(image: Image.Image) -> Image.Image:
    """The image on white, where any of it is transparent."""
    if image.mode == "LAB":  # of which Pillow makes RGB, but no gray
        return image.convert("RGB")
    if image.mode not in ("RGBA", "LA", "PA", "RGBa", "La") and "transparency" not in image.info:
        return image
    if image.mode == "La":  # Pillow converts neither of the two premultiplied modes to RGBA at once
        image = image.convert("LA")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
