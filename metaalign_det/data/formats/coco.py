"""Data sets in COCO's format: one JSON for all images.

Detectron2 reads COCO files too, as far as they are right. This reader gives the same dicts (boxes
as corners) and explains what is wrong in a file: COCO's own API prints, asserts, or goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import UserError
from .boxes import BoxFitter, ImageRecord, LabelledBox
from .image_files import where_to_look
from .image_headers import require_image, with_sizes
from .paths import inside, on_disk, show
from .problems import report, reported
from .records import report_boxes, report_sizes, says_size
from .text_files import number, read_json


def read_coco(
    json_file: Path, root: Path, *, labels: bool = True
) -> tuple[list[ImageRecord], tuple[str, ...]]:
    """Read a COCO detection file.

    Args:
        json_file: with ``images``, ``categories`` and ``annotations``.
        root: folder that the ``file_name`` of the images starts from.
        labels: False looks at ``images`` alone.

    Returns:
        the images in the order of the file, with their integer ids, and the names of the
        categories by rising id. ``iscrowd`` becomes :attr:`.LabelledBox.crowd`, ``ignore``
        :attr:`.LabelledBox.difficult`. Boxes are (x, y, width, height) in the file, from 0; of an
        object that has polygons alone, the smallest around them.

    Raises:
        UserError: a file is missing or listed twice, or an entry is not as COCO defines it; names
            file and entry.
    """
    content = read_json(json_file, "annotation file", where_to_look())
    if not isinstance(content, dict):
        raise UserError(f"{json_file}: a COCO file is one object, {{...}}, not {show(content)}")
    images = _by_id(content, "images", json_file)
    if not images:
        raise UserError(f"{json_file}: 'images' lists none")
    files = {}
    for image_id, image in images.items():
        where = f"{json_file}: image {image_id}"
        file = on_disk(inside(root, _text(image, "file_name", where), where), root)
        with reported():
            require_image(file, f"{where}: ", f"; file names are looked for below {root}")
            files[image_id] = file
    records = [
        ImageRecord(str(file), image_id, size, f"{json_file}: image {image_id}", None)
        for (image_id, file), size in with_sizes(files.items(), lambda one: one[1])
    ]
    if not labels:
        return records, ()
    names = _categories(content, json_file)
    _refuse_twice(files, json_file)
    sizes = {image_id: None for image_id in images} | {r.image_id: r.size for r in records}
    boxes = _boxes(content, json_file, sizes, names)
    report_sizes(
        str(json_file),
        [
            f"image {r.image_id} says {show(image.get('width'))}x{show(image.get('height'))}, "
            f"{r.file_name} has {r.size[0]}x{r.size[1]}"
            for r in records
            for image in (images[r.image_id],)
            if not says_size(image.get("width"), image.get("height"), r.size)
        ],
    )
    records = [r._replace(boxes=boxes[r.image_id]) for r in records]
    return records, tuple(names.values())


def _refuse_twice(files: Mapping[int, Path], json_file: Path) -> None:
    """Of two entries for a file, each would be trained on without the objects of the other."""
    first: dict[Path, int] = {}
    for image_id, file in files.items():
        other = first.setdefault(file, image_id)
        if other != image_id:
            report(
                UserError(
                    f"{json_file}: the images {other} and {image_id} are the same file, {file}: "
                    "remove one, and give its annotations the 'image_id' of the other"
                )
            )


def _boxes(
    content: Mapping[str, Any],
    json_file: Path,
    sizes: Mapping[str | int, tuple[int, int] | None],
    names: Mapping[int, str],
) -> dict[str | int, list[LabelledBox]]:
    boxes: dict[str | int, list[LabelledBox]] = {image_id: [] for image_id in sizes}
    fitter = BoxFitter()
    for n, annotation in enumerate(_list(content, "annotations", json_file)):
        where = f"{json_file}: annotations[{n}]"
        with reported():
            image_id, box = _box(annotation, where, sizes, names, fitter)
            if box is not None:
                boxes[image_id].append(box)
    report_boxes(str(json_file), fitter)
    return boxes


def _box(
    annotation: Any,
    where: str,
    sizes: Mapping[str | int, tuple[int, int] | None],
    names: Mapping[int, str],
    fitter: BoxFitter,
) -> tuple[int, LabelledBox | None]:
    """Id of the image and box of an annotation; None for one without area, or of a bad image."""
    if not isinstance(annotation, dict):
        raise UserError(f"{where} must be an object, {{...}}, not {show(annotation)}")
    image_id = _id(annotation, "image_id", where)
    category = _id(annotation, "category_id", where)
    if image_id not in sizes:
        raise UserError(f"{where}: there is no image with id {image_id}")
    if category not in names:
        raise UserError(f"{where}: there is no category with id {category}")
    box = annotation.get("bbox")
    if not box:
        box = _around(annotation.get("segmentation"), where) or box
    if not isinstance(box, list) or len(box) != 4:
        raise UserError(f"{where}: 'bbox' must be [x, y, width, height], not {show(box)}")
    x, y, w, h = (number(v, where, "a number in 'bbox'") for v in box)
    if w < 0 or h < 0:
        raise UserError(f"{where}: the box {show(box)} has a negative width or height")
    difficult, crowd = _flag(annotation, "ignore", where), _flag(annotation, "iscrowd", where)
    size = sizes[image_id]
    if size is None:
        return image_id, None
    corners = fitter.fit([x, y, x + w, y + h], size, f"{where}: the box")
    if corners is None:
        return image_id, None
    return image_id, LabelledBox(names[category], corners, difficult=difficult, crowd=crowd)


def _around(polygons: Any, where: str) -> list[float] | None:
    """The box around the polygons of an object, for annotations that have no box."""
    if not isinstance(polygons, list) or not all(isinstance(p, list) for p in polygons):
        return None
    if not polygons or any(len(p) < 6 or len(p) % 2 for p in polygons):
        return None
    what = "a number in 'segmentation'"
    xs, ys = ([number(v, where, what) for p in polygons for v in p[i::2]] for i in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def _categories(content: Mapping[str, Any], json_file: Path) -> dict[int, str]:
    categories = _by_id(content, "categories", json_file)
    names = {
        i: _text(category, "name", f"{json_file}: category {i}")
        for i, category in sorted(categories.items())
    }
    if len(set(names.values())) < len(names):
        names = _without_unused(names, _used_categories(content))
    if len(set(names.values())) < len(names):
        twice = next(n for n in names.values() if list(names.values()).count(n) > 1)
        raise UserError(f"{json_file}: two categories are called {show(twice)}: rename one")
    return names


def _without_unused(names: Mapping[int, str], used: set[int]) -> dict[int, str]:
    """The categories without those that are called as another and have no object.

    Roboflow lists what its classes have in common as one more category, often of the same name.
    """
    kept = {i: name for i, name in names.items() if i in used}
    for i, name in names.items():
        if name not in kept.values():
            kept[i] = name
    return dict(sorted(kept.items()))


def _used_categories(content: Mapping[str, Any]) -> set[int]:
    """Ids of the categories that annotations have; those that are wrong are told elsewhere."""
    annotations = content.get("annotations")
    used = set()
    for annotation in annotations if isinstance(annotations, list) else ():
        with suppress(UserError):
            if isinstance(annotation, dict):
                used.add(_id(annotation, "category_id", ""))
    return used


def _by_id(content: Mapping[str, Any], key: str, json_file: Path) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for n, entry in enumerate(_list(content, key, json_file)):
        where = f"{json_file}: {key}[{n}]"
        if not isinstance(entry, dict):
            raise UserError(f"{where} must be an object, {{...}}, not {show(entry)}")
        entry_id = _id(entry, "id", where)
        if entry_id in found:
            raise UserError(f"{where}: the id {entry_id} is used twice in {key!r}")
        found[entry_id] = entry
    return found


def _list(content: Mapping[str, Any], key: str, json_file: Path) -> list[Any]:
    value = content.get(key)
    if not isinstance(value, list):
        there = f"it is {show(value)}" if key in content else "it is missing"
        raise UserError(f"{json_file}: {key!r} must be a list of a COCO file; {there}")
    return value


def _id(entry: Mapping[str, Any], key: str, where: str) -> int:
    value = entry.get(key)
    # Some exporters write numbers as text, or, where a table had gaps, as 7.0.
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 19:
        value = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
        raise UserError(f"{where}: {key!r} must be a whole number, not {show(value)}")
    return value


def _text(entry: Mapping[str, Any], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{where}: {key!r} must be a text, not {show(value)}")
    return value.strip()


def _flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    value = entry.get(key, 0)
    if value in ("0", "1"):
        value = int(value)
    if value not in (0, 1, False, True, None):
        raise UserError(f"{where}: {key!r} must be 0 or 1, not {show(value)}")
    return bool(value)
