"""Cityscapes and Foggy Cityscapes in the layout of their archives, as boxes.

    leftImg8bit/<split>/<city>/<frame>_leftImg8bit.png
    leftImg8bit_foggy/<split>/<city>/<frame>_leftImg8bit_foggy_beta_0.02.png
    gtFine/<split>/<city>/<frame>_gtFine_polygons.json

The polygons are read here: neither cityscapesscripts nor shapely is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import UserError
from .boxes import TOLERANCE, BoxFitter, ImageRecord, LabelledBox, clip
from .image_files import walk_images, where_to_look
from .image_headers import with_sizes
from .paths import inside, relative_id, show
from .problems import reported
from .records import report_boxes, report_sizes, says_size
from .text_files import number, read_json

#: The eight classes with instances, in the order of Cityscapes' own list.
CITYSCAPES_CLASSES: tuple[str, ...] = (
    "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"
)  # fmt: skip

_GROUP = "group"  # "cargroup": several objects that could not be told apart
#: Fraction of the longer side by which a polygon may leave an image of unknown size.
_PAST_THE_EDGE = 1e-2


def read_cityscapes(
    root: Path, split: str, *, labels: bool = True, foggy_beta: str | None = None
) -> list[ImageRecord]:
    """Read one split.

    The box of an object is the smallest around its polygon, inside the image. Boxes made from
    ``instanceIds`` images are around the visible pixels instead and can be smaller where something
    stands before the object. Groups ("cargroup") are crowds: not trained on, left out of the
    score. Objects of classes without instances (road, sky, ...) are passed over.

    Args:
        root: folder with ``leftImg8bit`` (or ``leftImg8bit_foggy``) and ``gtFine``.
        split: "train", "val".
        labels: False = ``gtFine`` is not opened.
        foggy_beta: attenuation as the file names of Foggy Cityscapes spell it: "0.02", "0.01" or
            "0.005", of which each frame has all three; None = the clear images.

    Returns:
        list[ImageRecord]: sorted by city and frame.

    Raises:
        UserError: a folder or file is missing, a polygon file is not as Cityscapes writes it, or
            an object lies outside its image.
    """
    folder = "leftImg8bit" if foggy_beta is None else "leftImg8bit_foggy"
    end = "_leftImg8bit" if foggy_beta is None else f"_leftImg8bit_foggy_beta_{foggy_beta}"
    images = inside(root / folder, split, "SPLIT")
    found = [image for image in walk_images(images) if image.stem.endswith(end)]
    if not found:
        raise UserError(f"{images}: no image is called <city>/*{end}.png{where_to_look()}")
    fitter, mismatched = BoxFitter(), []
    records = []
    for image, size in with_sizes(found, lambda image: image):
        frame = relative_id(image, images).removesuffix(f"{end}{image.suffix}")
        polygons = root / "gtFine" / split / f"{frame}_gtFine_polygons.json"
        image_id = relative_id(image.with_suffix(""), images)
        with reported():
            boxes = _read_polygons(polygons, size, fitter, mismatched) if labels else None
            records.append(ImageRecord(str(image), image_id, size, str(polygons), boxes))
    where = str(root / "gtFine" / split)
    report_boxes(where, fitter)
    report_sizes(where, mismatched)
    return records


def _read_polygons(
    path: Path, size: tuple[int, int], fitter: BoxFitter, mismatched: list[str]
) -> list[LabelledBox]:
    content = read_json(path, "annotation", where_to_look())
    objects = content.get("objects") if isinstance(content, dict) else None
    if not isinstance(objects, list):
        raise UserError(f"annotation {path}: 'objects' must be a list, not {show(objects)}")
    width, height = content.get("imgWidth"), content.get("imgHeight")
    tolerance = max(TOLERANCE, _PAST_THE_EDGE * max(size))
    drawn_here = width is not None and says_size(width, height, size)
    if not says_size(width, height, size):
        mismatched.append(
            f"{path.name} says {show(width)}x{show(height)}, the image has {size[0]}x{size[1]}"
        )
    boxes = []
    for n, obj in enumerate(objects):
        where = f"annotation {path}: objects[{n}]"
        if not isinstance(obj, dict) or not isinstance(obj.get("label"), str):
            raise UserError(f"{where} must have a 'label', it is {show(obj)}")
        name = obj["label"]
        crowd = name.endswith(_GROUP)
        name = name.removesuffix(_GROUP)
        if name not in CITYSCAPES_CLASSES or obj.get("deleted"):
            continue
        with reported():
            around = _around(obj.get("polygon"), where)
            if drawn_here:  # by hand, past the edge or beside it: what is inside counts
                around = list(clip(around, size))
            named = f"{where}: the box around {show(obj['label'])}"
            corners = fitter.fit(around, size, named, tolerance)
            if corners is not None:
                boxes.append(LabelledBox(name, corners, crowd=crowd))
    return boxes


def _around(polygon: Any, where: str) -> list[float]:
    """Smallest box around a polygon."""
    if not isinstance(polygon, list) or not polygon:
        raise UserError(f"{where}: 'polygon' must list corners, not {show(polygon)}")
    points = []
    for point in polygon:
        if not isinstance(point, list) or len(point) != 2:
            raise UserError(f"{where}: a corner of 'polygon' is [x, y], not {show(point)}")
        points.append([number(value, where, "a coordinate in 'polygon'") for value in point])
    xs, ys = zip(*points)
    return [min(xs), min(ys), max(xs), max(ys)]
