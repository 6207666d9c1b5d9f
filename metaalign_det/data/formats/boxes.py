"""A labelled box as every reader makes it, checked against its image."""

from __future__ import annotations

from typing import NamedTuple

from ...errors import UserError

#: Pixels by which a box may leave its image and is clipped; annotation tools are off by one.
TOLERANCE = 2.0


class LabelledBox(NamedTuple):
    """One object.

    Attributes:
        name: its class as the file spells it.
        corners: [x0, y0, x1, y1], absolute pixels from 0, continuous, inside the image.
        difficult: trained on, left out of the score (VOC's flag).
        crowd: a region of many objects (COCO's ``iscrowd``, Cityscapes' groups): not trained on,
            left out of the score.
    """

    name: str
    corners: list[float]
    difficult: bool = False
    crowd: bool = False


class ImageRecord(NamedTuple):
    """One image as a reader found it.

    Attributes:
        file_name: path.
        image_id: str, or the int of a COCO file.
        size: width and height in pixels, of the image itself.
        where: what names the annotation in a message.
        boxes: None without labels.
    """

    file_name: str
    image_id: str | int
    size: tuple[int, int]
    where: str
    boxes: list[LabelledBox] | None


class BoxFitter:
    """Puts the boxes of one data set inside their images, and counts what it had to change.

    Attributes:
        clipped: number of boxes that were clipped.
        flat: names and corners of those without area.
    """

    def __init__(self) -> None:
        self.clipped = 0
        self.flat: list[str] = []

    def fit(
        self, corners: list[float], size: tuple[int, int], where: str, tolerance: float = TOLERANCE
    ) -> list[float] | None:
        """The box inside the image.

        Args:
            corners: [x0, y0, x1, y1], absolute pixels from 0, continuous.
            size: width and height of the image.
            where: names the box in a message.
            tolerance: pixels by which it may leave the image.

        Returns:
            the box, clipped where it left the image by at most ``tolerance``; None for a box
            without area, which COCO's own files have and nothing can be learned from.

        Raises:
            UserError: the box leaves the image by more.
        """
        x0, y0, x1, y1 = corners
        inside = clip(corners, size)
        flat = inside[2] <= inside[0] or inside[3] <= inside[1]
        too_far = max(abs(a - b) for a, b in zip(corners, inside)) > tolerance
        named = f"{where}, ({x0:g}, {y0:g}, {x1:g}, {y1:g}) in pixels"
        if too_far or (flat and x1 > x0 and y1 > y0):
            raise UserError(
                f"{named}, lies outside the image of {size[0]}x{size[1]} pixels: correct it"
            )
        if flat:
            self.flat.append(named)
            return None
        self.clipped += inside != corners
        return inside


def clip(corners: list[float], size: tuple[int, int]) -> list[float]:
    """The part of a box that is inside an image of (width, height) pixels."""
    width, height = size
    x0, y0, x1, y1 = corners
    return [
        min(max(x0, 0.0), width),
        min(max(y0, 0.0), height),
        min(max(x1, 0.0), width),
        min(max(y1, 0.0), height),
    ]
