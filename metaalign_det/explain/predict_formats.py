"""Predictions on disk, in the formats that other tools read.

A record is one image's predictions; boxes are absolute x0, y0, x1, y1 in pixels, continuous, from
(0, 0) at the upper left corner of the image. Writers return the path of their file, or of their
folder where there is a file for each image. Where a name is not UTF-8, CSV and XML hold its other
bytes as :func:`..files.printable` has them, so that any reader takes the file.
"""

from __future__ import annotations

import csv
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import yaml
from detectron2.structures import Instances

from ..files import printable, write_json
from .predict import Classification
from .predict_folder import PredictionFolder
from .predict_inputs import unique_stems


@dataclass(frozen=True)
class Detections:
    """What a detector found on one image.

    Args:
        name: of the image, a relative POSIX path.
        size: width and height of the image in pixels.
        boxes: x0, y0, x1, y1 of each detection, absolute pixels.
        classes: number of each detection's class.
        scores: of each detection.
    """

    name: str
    size: tuple[int, int]
    boxes: list[list[float]]
    classes: list[int]
    scores: list[float]

    @classmethod
    def of(cls, name: str, found: Instances) -> Detections:
        height, width = found.image_size
        return cls(
            name,
            (width, height),
            found.pred_boxes.tensor.tolist(),
            found.pred_classes.tolist(),
            found.scores.tolist(),
        )


def write_coco(
    records: Sequence[Detections], names: Sequence[str], folder: PredictionFolder
) -> Path:
    """``coco.json``: a COCO data set of images, categories and annotations with a ``score``.

    ``pycocotools.coco.COCO`` reads it. Beside it, ``coco_results.json`` holds its annotations
    alone, which is what ``COCO.loadRes`` reads. Ids of categories count from 1, as in COCO.
    """
    annotations: list[dict] = []
    for image_id, record in enumerate(records, start=1):
        for (x0, y0, x1, y1), k, score in zip(record.boxes, record.classes, record.scores):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": k + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "score": score,
                }
            )
    images = [
        {"id": i, "file_name": r.name, "width": r.size[0], "height": r.size[1]}
        for i, r in enumerate(records, start=1)
    ]
    categories = [{"id": k, "name": name} for k, name in enumerate(names, start=1)]
    told = {
        "info": {"description": "predictions of metaalign_det"},
        "images": images,
        "categories": categories,
        "annotations": annotations,
    }
    with folder.writing("coco.json") as path:
        write_json(path, told, indent=None)
    with folder.writing("coco_results.json") as results:
        write_json(results, annotations, indent=None)
    return path


def write_voc(
    records: Sequence[Detections], names: Sequence[str], folder: PredictionFolder
) -> Path:
    """``voc/<image>.xml``: pixels from 1 as in the VOC devkit, and a ``score`` per object."""
    for record, stem in zip(records, unique_stems([r.name for r in records])):
        annotation = ET.Element("annotation")
        ET.SubElement(annotation, "filename").text = printable(record.name)
        size = ET.SubElement(annotation, "size")
        for key, value in zip(("width", "height", "depth"), (*record.size, 3)):
            ET.SubElement(size, key).text = str(value)
        for (x0, y0, x1, y1), k, score in zip(record.boxes, record.classes, record.scores):
            item = ET.SubElement(annotation, "object")
            ET.SubElement(item, "name").text = names[k]
            ET.SubElement(item, "difficult").text = "0"
            box = ET.SubElement(item, "bndbox")
            # Detectron2 (and this package) read 1-based, inclusive pixels as x0 = xmin - 1, x1 =
            # xmax. So the narrowest box has one pixel; less would be inverted, and refused.
            corners = (x0 + 1, y0 + 1, max(x1, x0 + 1), max(y1, y0 + 1))
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners):
                ET.SubElement(box, key).text = f"{value:.2f}"
            ET.SubElement(item, "score").text = f"{score:.6f}"
        ET.indent(annotation)
        with folder.writing(f"voc/{stem}.xml") as path:
            ET.ElementTree(annotation).write(path, encoding="utf-8")
    return folder.path / "voc"


def write_yolo(
    records: Sequence[Detections],
    names: Sequence[str],
    folder: PredictionFolder,
    *,
    scores: bool = False,
) -> Path:
    """``yolo/labels/<image>.txt`` and ``yolo/data.yaml``: a data set once ``yolo/images`` is there.

    A line is class number, center x, center y, width and height, relative to the image. An image
    without detections gets an empty file.

    Args:
        scores: append the score of each detection, as Ultralytics' ``save_conf`` does. Tools that
            compare predictions read such lines; readers of data sets do not.
    """
    for record, stem in zip(records, unique_stems([r.name for r in records])):
        width, height = record.size
        lines = [
            f"{k} {(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f} "
            f"{(x1 - x0) / width:.6f} {(y1 - y0) / height:.6f}"
            for (x0, y0, x1, y1), k in zip(record.boxes, record.classes)
        ]
        if scores:
            lines = [f"{line} {score:.6f}" for line, score in zip(lines, record.scores)]
        with folder.writing(f"yolo/labels/{stem}.txt") as path:
            path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    told = {"train": "images", "names": dict(enumerate(names))}
    with folder.writing("yolo/data.yaml") as path:
        text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
        path.write_text(text, encoding="utf-8")
    return folder.path / "yolo"


def write_csv(
    records: Sequence[Detections], names: Sequence[str], folder: PredictionFolder
) -> Path:
    """``predictions.csv``: a line a detection."""
    with folder.writing("predictions.csv") as path, _open_csv(path) as file:
        writer = csv.writer(file)
        writer.writerow(["image", "class", "score", "x0", "y0", "x1", "y1"])
        for record in records:
            for box, k, score in zip(record.boxes, record.classes, record.scores):
                row = [record.name, names[k], f"{score:.6f}", *(f"{v:.2f}" for v in box)]
                writer.writerow(row)
    return path


def _open_csv(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="backslashreplace", newline="")


#: By the name that ``--format`` takes, for a detector.
DETECTION_FORMATS: dict[
    str, Callable[[Sequence[Detections], Sequence[str], PredictionFolder], Path]
] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
    "csv": write_csv,
}


def write_top_k_csv(
    results: Sequence[tuple[str, Classification]], k: int, folder: PredictionFolder
) -> Path:
    """``predictions.csv``: a line for each of the ``k`` best classes of an image."""
    with folder.writing("predictions.csv") as path, _open_csv(path) as file:
        writer = csv.writer(file)
        writer.writerow(["image", "rank", "class", "probability"])
        for name, result in results:
            for rank, (label, probability) in enumerate(result.top(k), start=1):
                writer.writerow([name, rank, label, f"{probability:.6f}"])
    return path


def write_top_k_json(
    results: Sequence[tuple[str, Classification]], k: int, folder: PredictionFolder
) -> Path:
    """``predictions.json``: for each image a list of {class, probability}, the best first."""
    told = {n: [{"class": c, "probability": p} for c, p in r.top(k)] for n, r in results}
    with folder.writing("predictions.json") as path:
        write_json(path, told)
    return path


#: The same for a classifier.
CLASSIFICATION_FORMATS: dict[
    str, Callable[[Sequence[tuple[str, Classification]], int, PredictionFolder], Path]
] = {"csv": write_top_k_csv, "json": write_top_k_json}


def names_of(form: str, images: Sequence[str]) -> Iterator[str]:
    """Every name that a format may write for some images, whichever of them can be read.

    Args:
        form: name of a format.
        images: names of images, relative POSIX paths.
    """
    yield from _FILES[form]
    if form in _FILE_OF_EACH:
        for name in images:
            # With the suffix where another image has the same name without.
            for stem in (name, *unique_stems([name])):
                yield _FILE_OF_EACH[form].format(stem)


_FILES = {
    "coco": ("coco.json", "coco_results.json"),
    "voc": (),
    "yolo": ("yolo/data.yaml",),
    "csv": ("predictions.csv",),
    "json": ("predictions.json",),
}
_FILE_OF_EACH = {"voc": "voc/{}.xml", "yolo": "yolo/labels/{}.txt"}
