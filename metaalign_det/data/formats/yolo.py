"""Data sets in the format of the YOLO family: a data.yaml, and one text file per image.

The conventions are those of Ultralytics: ``train:``, ``val:`` and ``test:`` in data.yaml name
folders or lists of images; the labels of ``.../images/x.jpg`` are in ``.../labels/x.txt``, one
line an object, ``class x_center y_center width height`` in fractions of the image; an image
without a label file shows no object.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError
from .boxes import BoxFitter, ImageRecord, LabelledBox
from .image_files import is_image_name, walk_images, where_to_look
from .image_headers import require_image, with_sizes
from .paths import inside, on_disk, relative_id, show, with_slashes
from .problems import reported
from .records import report_boxes
from .text_files import number, read_lines, read_yaml

logger = logging.getLogger(__name__)

_KEYS = ("train", "val", "test")
#: Fractions may leave [0, 1] by this much: they are rounded to six digits and less.
_ROUNDING = 1e-2


def read_yolo(
    data_yaml: Path, root: Path, split: str, *, labels: bool = True
) -> tuple[list[ImageRecord], tuple[str, ...]]:
    """Read one split of a data set.

    Args:
        data_yaml: with ``names`` (a list, or a mapping from number to name) and the splits. Its
            ``path`` is followed as long as it stays below ``root``: it is usually the folder of
            somebody else's machine.
        root: folder that holds images and labels.
        split: key in data.yaml: "train", "val" or "test".
        labels: False = label files need not exist and are not opened.

    Returns:
        the images, sorted or in the order of a list, and the names in data.yaml. Lines of more
        than five fields are polygons (as for segmentation), and their box is the smallest around;
        where data.yaml has ``kpt_shape`` they are a box and its keypoints, which are not read.

    Raises:
        UserError: a file is missing or wrong; names it and the line or key.
    """
    content = read_yaml(data_yaml, "data file", where_to_look())
    if not isinstance(content, dict):
        raise UserError(f"{data_yaml}: expected keys such as train and names, not {show(content)}")
    images = _find_images(content, data_yaml, root, split)
    records = [
        ImageRecord(str(image), relative_id(image, root), size, str(label_file(image, root)), None)
        for image, size in with_sizes(images, lambda image: image)
    ]
    if not labels:
        return records, ()
    records = [r._replace(where=str(on_disk(Path(r.where), root))) for r in records]
    names = class_names(content, data_yaml)
    keypoints = _keypoint_fields(content, data_yaml)
    fitter = BoxFitter()
    missing = sum(not os.path.exists(r.where) for r in records)
    if records and missing == len(records):
        raise UserError(
            f"{data_yaml}, {split}: none of the {len(records)} images has a label file; the first "
            f"was looked for at {records[0].where} (for a target without labels, register the "
            "data set with LABELLED: False)"
        )
    if missing:
        logger.info(
            "%s, %s: %d of %d images have no label file: images without objects",
            data_yaml,
            split,
            missing,
            len(records),
        )
    annotated = []
    for record in records:
        with reported():
            boxes = _read_labels(record, names, keypoints, fitter)
            annotated.append(record._replace(boxes=boxes))
    report_boxes(f"{data_yaml}, {split}", fitter)
    return annotated, names


def class_names(content: dict[str, Any], data_yaml: Path) -> tuple[str, ...]:
    """The names in data.yaml in the order of their numbers.

    Raises:
        UserError: no names, or numbers that are not 0, 1, 2, ...
    """
    names = content.get("names")
    if isinstance(names, dict):
        numbers = [str(n) for n in range(len(names))]
        if sorted(names) != sorted(numbers):
            raise UserError(
                f"{data_yaml}: 'names' must number the classes 0, 1, 2, ... without a gap, not "
                f"{show(list(names))}"
            )
        names = [names[n] for n in numbers]
    if not isinstance(names, list) or not names:
        raise UserError(f"{data_yaml}: 'names' must list the classes, not {show(names)}")
    for n, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{data_yaml}: class {n} in 'names' is {show(name)}, not a text")
    if "nc" in content and content["nc"] != str(len(names)):
        raise UserError(
            f"{data_yaml}: 'nc' is {show(content['nc'])}, but 'names' lists {len(names)} classes"
        )
    return tuple(name.strip() for name in names)


def _keypoint_fields(content: dict[str, Any], data_yaml: Path) -> int:
    """Numbers behind each box of a pose data set, ``kpt_shape: [points, 2 or 3]``; 0 of others."""
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    text = " ".join(map(str, shape)) if isinstance(shape, list) else ""
    match = re.fullmatch(r"([0-9]{1,4}) ([23])", text)
    if match is None:
        raise UserError(
            f"{data_yaml}: 'kpt_shape' must be [number of keypoints, 2 or 3], not {show(shape)}"
        )
    return int(match[1]) * int(match[2])


def label_file(image: Path, root: Path) -> Path:
    """Where the labels of an image are: the last folder ``images`` below root is ``labels`` there.

    Without a folder of that name, they are beside the image.
    """
    parts = list(image.relative_to(root).parts)
    for n in range(len(parts) - 2, -1, -1):
        if parts[n] == "images":
            parts[n] = "labels"
            break
    return root.joinpath(*parts).with_suffix(".txt")


def _find_images(content: dict[str, Any], data_yaml: Path, root: Path, split: str) -> list[Path]:
    if split not in content:
        there = ", ".join(k for k in _KEYS if k in content) or "none"
        raise UserError(f"{data_yaml} has no split {show(split)}; it has: {there}")
    where = f"{data_yaml}: {show(split)}"
    places = content[split]
    places = [places] if isinstance(places, str) else places
    if not isinstance(places, list) or not all(isinstance(p, str) for p in places) or not places:
        raise UserError(f"{where} must be a folder or a list, not {show(places)}")
    base = _base(content, data_yaml, root)
    images = [image for place in places for image in _images_of(place, base, data_yaml, root)]
    if len(set(images)) < len(images):
        raise UserError(f"{where} lists an image twice: {_first_repeated(images)}")
    if not images:
        raise UserError(f"{where}: no image in {', '.join(map(show, places))}")
    return images


def _base(content: dict[str, Any], data_yaml: Path, root: Path) -> Path:
    """What the splits start from: ``path`` where it is a folder below root, else root."""
    path = content.get("path")
    if path in (None, "", "."):
        return root
    if not isinstance(path, str):
        raise UserError(f"{data_yaml}: 'path' must be a text, not {show(path)}")
    try:
        base = inside(root, path, f"{data_yaml}: 'path'")
    except UserError:
        base = root
    if base == root or not os.path.isdir(base):
        logger.info("%s: 'path' %s is not used; %s is", data_yaml, show(path), root)
        return root
    return base


def has_split(content: dict[str, Any], data_yaml: Path, root: Path, split: str) -> bool:
    """Whether there is anything in a place that data.yaml names for a split.

    Roboflow names a ``test`` whether or not the export has one. What can be no place counts as
    there: reading it will say what is wrong.
    """
    places = content.get(split)
    places = [places] if isinstance(places, str) else places
    if not isinstance(places, list) or not all(isinstance(place, str) for place in places):
        return True
    try:
        base = _base(content, data_yaml, root)
        return any(os.path.exists(_path_of(p, base, root, f"{data_yaml}: {split}")) for p in places)
    except UserError:
        return True


def has_label_files(data_yaml: Path, root: Path, split: str) -> bool:
    """Whether any image of a split has a label file: pictures of a target often have none.

    A split that cannot be read counts as labelled: reading it will say what is wrong.
    """
    try:
        content = read_yaml(data_yaml, "data file", where_to_look())
        images = _find_images(content, data_yaml, root, split)
    except UserError:
        return True
    return any(os.path.exists(on_disk(label_file(image, root), root)) for image in images)


def _path_of(place: str, base: Path, root: Path, where: str) -> Path:
    relative = place.strip()
    if relative.startswith(("../", "..\\")):
        # Roboflow's exports say ../train/images for what is beside data.yaml; Ultralytics too
        # drops what leads out of the data set.
        relative = relative.lstrip("./\\")
    path = inside(base, relative, where)
    inside(root, str(path), where)
    return on_disk(path, base)


def _images_of(place: str, base: Path, data_yaml: Path, root: Path) -> list[Path]:
    where = f"{data_yaml}: {show(place)}"
    path = _path_of(place, base, root, where)
    if os.path.isdir(path):
        return walk_images(path)
    if path.suffix.lower() == ".txt":
        images = []
        for n, text in read_lines(path, f"{where}: list"):
            with reported():
                images.append(_listed(text, path, base, root, f"{path}, line {n}"))
        return images
    if is_image_name(path.name):
        require_image(path, f"{where}: ")
        return [path]
    raise UserError(f"{where}: {path} does not exist; a folder or a list of images is expected")


def _listed(text: str, list_file: Path, base: Path, root: Path, where: str) -> Path:
    """A line of a list: from the folder of the list where it starts with ./, else from base."""
    dotted = text.startswith(("./", ".\\"))
    start = list_file.parent if dotted else base
    text = with_slashes(text, start)
    path = inside(start, text, where)
    inside(root, str(path), where)
    path = on_disk(path, start)
    if not is_image_name(path.name):
        raise UserError(f"{where}: {show(text)} is no image by its suffix")
    require_image(path, f"{where}: ", _hint(text, start, base) if dotted else "")
    return path


def _hint(text: str, start: Path, base: Path) -> str:
    """Why a line that starts with ./ may lead to nothing."""
    if os.path.normpath(start) == os.path.normpath(base):
        return ""
    hint = f"; what starts with ./ counts from the folder of the list, {start}"
    other = on_disk(inside(base, text, ""), base)
    return hint + (f": remove ./ to have {other} read" if os.path.isfile(other) else "")


def _first_repeated(images: Sequence[Path]) -> Path:
    seen: set[Path] = set()
    return next(i for i in images if i in seen or seen.add(i))


def _read_labels(
    record: ImageRecord, names: Sequence[str], keypoints: int, fitter: BoxFitter
) -> list[LabelledBox]:
    path = Path(record.where)
    if not os.path.lexists(path):
        return []
    boxes = []
    for n, text in read_lines(path, "label file"):
        where = f"{path}, line {n}"
        fields = _without_keypoints(text.split(), where, keypoints) if keypoints else text.split()
        name, corners = _read_line(fields, where, names)
        width, height = record.size
        x0, y0, x1, y1 = corners
        pixels = [x0 * width, y0 * height, x1 * width, y1 * height]
        tolerance = max(2.0, _ROUNDING * max(width, height))
        inside_image = fitter.fit(pixels, record.size, f"{where}: the box", tolerance)
        if inside_image is not None:
            boxes.append(LabelledBox(name, inside_image))
    return boxes


def _without_keypoints(fields: list[str], where: str, keypoints: int) -> list[str]:
    """Class and box of an object of a pose data set, which may also have no keypoints."""
    if len(fields) not in (5, 5 + keypoints):
        raise UserError(
            f"{where}: {len(fields)} fields; by 'kpt_shape' in data.yaml an object has "
            f"{5 + keypoints}, a class, a box and keypoints, or 5 without keypoints: correct one "
            "of the two"
        )
    return fields[:5]


def _read_line(fields: list[str], where: str, names: Sequence[str]) -> tuple[str, list[float]]:
    """Class name and corners (fractions of the image) of one object."""
    polygon = len(fields) >= 7 and len(fields) % 2 == 1
    if len(fields) == 6:
        raise UserError(
            f"{where}: 6 fields; an object is 'class x_center y_center width height'. If the sixth "
            "is the score of a prediction, write the labels without scores (metaalign-det predict "
            "without --yolo-scores, Ultralytics without save_conf)"
        )
    if len(fields) != 5 and not polygon:
        raise UserError(
            f"{where}: {len(fields)} fields; an object is 'class x_center y_center width height' "
            "(or a class and the corners of a polygon): complete or remove the line"
        )
    category = number(fields[0], where, "the class")
    if category != int(category) or not 0 <= category < len(names):
        raise UserError(
            f"{where}: class {show(fields[0])} is not in 0 to {len(names) - 1}, the numbers of "
            "'names' in data.yaml"
        )
    values = [number(text, where, "a coordinate") for text in fields[1:]]
    if max(map(abs, values)) > 1 + _ROUNDING:
        raise UserError(
            f"{where}: {show(' '.join(fields))} exceeds 1: coordinates are fractions of the image, "
            "not pixels"
        )
    if polygon:
        xs, ys = values[0::2], values[1::2]
        return names[int(category)], [min(xs), min(ys), max(xs), max(ys)]
    x, y, w, h = values
    if w < 0 or h < 0:
        raise UserError(f"{where}: the box has a negative width or height")
    return names[int(category)], [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
