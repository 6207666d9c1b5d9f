"""KITTI's object detection benchmark in the layout of its archives.

training/image_2/000000.png
training/label_2/000000.txt    type truncated occluded alpha x0 y0 x1 y1 + 7 numbers in 3D
"""

from __future__ import annotations

from pathlib import Path

from ...errors import UserError
from .boxes import BoxFitter, ImageRecord, LabelledBox
from .image_files import images_by_stem
from .image_headers import with_sizes
from .paths import show
from .problems import reported
from .records import report_boxes
from .text_files import number, read_lines

_FIELDS = 15
_BOX = slice(4, 8)
#: Regions where objects were not labelled.
_DONT_CARE = "DontCare"


def read_kitti(root: Path, *, labels: bool = True) -> list[ImageRecord]:
    """Read the training images; KITTI has no public labels for its test images.

    Boxes are continuous pixels from 0, as in the files. ``DontCare`` regions belong to no class
    and are passed over.

    Args:
        root: folder with ``image_2`` and ``label_2``.
        labels: False = ``label_2`` is not opened.

    Returns:
        list[ImageRecord]: sorted by number; ids are the file names without suffix.

    Raises:
        UserError: a folder or file is missing, or a line is not as KITTI writes it.
    """
    images = sorted(images_by_stem(root / "image_2").items())
    if not images:
        raise UserError(f"{root / 'image_2'}: no image in it")
    fitter = BoxFitter()
    records = []
    for (stem, image), size in with_sizes(images, lambda one: one[1]):
        path = root / "label_2" / f"{stem}.txt"
        with reported():
            boxes = _read_labels(path, size, fitter) if labels else None
            records.append(ImageRecord(str(image), stem, size, str(path), boxes))
    report_boxes(str(root), fitter)
    return records


def _read_labels(path: Path, size: tuple[int, int], fitter: BoxFitter) -> list[LabelledBox]:
    boxes = []
    for n, text in read_lines(path, "label file"):
        where = f"{path}, line {n}"
        fields = text.split()
        if len(fields) != _FIELDS:
            raise UserError(
                f"{where}: {len(fields)} fields where KITTI has {_FIELDS}: {show(text)}"
            )
        if fields[0] == _DONT_CARE:
            continue
        corners = [number(value, where, "a corner of the box") for value in fields[_BOX]]
        if corners[2] < corners[0] or corners[3] < corners[1]:
            raise UserError(f"{where}: the box {' '.join(fields[_BOX])} is inverted")
        inside_image = fitter.fit(corners, size, f"{where}: the box")
        if inside_image is not None:
            boxes.append(LabelledBox(fields[0], inside_image))
    return boxes
