"""Predictions as pictures: boxes by Detectron2's ``Visualizer``, classes as a caption.

Pixels are arrays (H, W, 3) of uint8, RGB.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .predict import Classification

_SMALLEST = 480  # longer side of a picture in pixels: letters on less cannot be read
_GAP = 6  # pixels between pictures side by side
_LINE = 20  # height of a line of text in pixels


def draw_detections_on(pixels: NDArray, found: Instances, class_names: Sequence[str]) -> NDArray:
    """The image with a box, class name and score for every detection; small ones are enlarged.

    A class has one color, the same on every image.
    """
    scale = max(1.0, _SMALLEST / max(pixels.shape[:2]))
    canvas = Visualizer(pixels, scale=scale)
    classes = found.pred_classes.tolist()
    drawn = canvas.overlay_instances(
        boxes=found.pred_boxes.tensor.numpy(),
        labels=[f"{class_names[k]} {s:.0%}" for k, s in zip(classes, found.scores.tolist())],
        assigned_colors=[class_color(k) for k in classes],
    )
    return drawn.get_image()


def class_color(k: int) -> tuple[float, float, float]:
    """RGB in [0, 1] of class number k: hues a golden angle apart, so that neighbors differ."""
    return colorsys.hsv_to_rgb((0.58 + 0.618034 * k) % 1.0, 0.8, 0.95)


def draw_classes_under(pixels: NDArray, result: Classification, k: int) -> NDArray:
    """The image with its ``k`` best classes below, a bar as long as the probability each."""
    image = enlarged(pixels)
    top = result.top(k)
    sheet = Image.new("RGB", (image.width, image.height + _LINE * len(top)), "white")
    sheet.paste(image)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for line, (name, probability) in enumerate(top):
        y = image.height + line * _LINE
        bar = (0, y + 1, round(probability * (image.width - 1)), y + _LINE - 2)
        draw.rectangle(bar, fill="#9ecae1")
        draw.text((4, y + 2), f"{probability:6.1%}  {name}", fill="black", font=font)
    return np.asarray(sheet)


def enlarged(pixels: NDArray) -> Image.Image:
    """The image, at least 480 pixels on its longer side."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = _SMALLEST / max(image.size)
    if scale <= 1:
        return image
    return image.resize([max(1, round(x * scale)) for x in image.size], Image.Resampling.NEAREST)


def side_by_side(pictures: Sequence[NDArray], titles: Sequence[str]) -> NDArray:
    """Pictures in one row, each under its title, on white."""
    width = sum(p.shape[1] for p in pictures) + _GAP * (len(pictures) - 1)
    height = max(p.shape[0] for p in pictures) + _LINE
    sheet = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    x = 0
    for picture, title in zip(pictures, titles):
        draw.text((x + 4, 2), _shortened(title, picture.shape[1]), fill="black", font=font)
        sheet.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, _LINE))
        x += picture.shape[1] + _GAP
    return np.asarray(sheet)


def _shortened(title: str, width: int) -> str:
    """The end of a title that is too long, since paths differ there."""
    most = max(8, width // 8)
    return title if len(title) <= most else f"...{title[3 - most :]}"
