"""What is written is read back by the readers of each format."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import time
import xml.etree.ElementTree as ET

import pytest
import torch
import yaml
from detectron2.structures import Boxes, Instances
from PIL import Image
from pycocotools.coco import COCO

from metaalign_det.data.formats.voc_xml import continuous_corners, read_annotation
from metaalign_det.data.formats.yolo import read_yolo
from metaalign_det.errors import UserError
from metaalign_det.explain.predict import Classification
from metaalign_det.explain.predict_folder import RECORD, PredictionFolder
from metaalign_det.explain.predict_formats import (
    CLASSIFICATION_FORMATS,
    DETECTION_FORMATS,
    Detections,
    names_of,
    write_coco,
    write_csv,
    write_top_k_csv,
    write_top_k_json,
    write_voc,
    write_yolo,
)
from metaalign_det.explain.predict_inputs import unique_stems

NAMES = ("cat", "dog")
BOXES = [[10.0, 20.0, 50.0, 60.0], [0.0, 0.0, 100.0, 80.0]]
RECORDS = [
    Detections("a b/one.jpg", (100, 80), BOXES, [1, 0], [0.9, 0.25]),
    Detections("two.png", (64, 48), [], [], []),
]


@pytest.fixture
def folder(tmp_path):
    return PredictionFolder(tmp_path)


def test_records_come_from_instances():
    found = Instances((80, 100), pred_boxes=Boxes(torch.tensor(BOXES)))
    found.scores, found.pred_classes = torch.tensor([0.5, 0.25]), torch.tensor([1, 0])
    assert Detections.of("x.png", found) == Detections(
        "x.png", (100, 80), BOXES, [1, 0], [0.5, 0.25]
    )


def test_pycocotools_reads_the_coco_file(tmp_path, folder):
    path = write_coco(RECORDS, NAMES, folder)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(path))
        again = coco.loadRes(str(tmp_path / "coco_results.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["cat", "dog"]
    (image,) = [i for i in coco.loadImgs(coco.getImgIds()) if i["file_name"] == "a b/one.jpg"]
    assert (image["width"], image["height"]) == (100, 80)
    found = again.loadAnns(again.getAnnIds(imgIds=image["id"]))
    assert [f["bbox"] for f in found] == [[10, 20, 40, 40], [0, 0, 100, 80]]
    assert [f["category_id"] for f in found] == [2, 1]
    assert [f["score"] for f in found] == [0.9, 0.25]
    assert len(coco.getImgIds()) == 2, "an image without detections is listed too"


def test_voc_files_read_back_as_detectron2_reads_them(tmp_path, folder):
    write_voc(RECORDS, NAMES, folder)
    objects = ET.parse(tmp_path / "voc" / "a b" / "one.xml").findall("object")
    boxes = []
    for item in objects:
        box = [float(item.find("bndbox").find(k).text) for k in ("xmin", "ymin", "xmax", "ymax")]
        boxes.append([box[0] - 1, box[1] - 1, box[2], box[3]])
    assert boxes == BOXES
    assert [item.find("name").text for item in objects] == ["dog", "cat"]
    assert ET.parse(tmp_path / "voc" / "two.xml").findall("object") == []


@pytest.mark.parametrize("scores", [False, True])
def test_yolo_files_read_back(tmp_path, folder, scores):
    write_yolo(RECORDS, NAMES, folder, scores=scores)
    told = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    lines = (tmp_path / "yolo" / "labels" / "a b" / "one.txt").read_text().splitlines()
    for line, box, k, score in zip(lines, BOXES, [1, 0], [0.9, 0.25], strict=True):
        number, x, y, w, h, *rest = (float(v) for v in line.split())
        assert told["names"][int(number)] == NAMES[k] and rest == [score] * scores
        back = [(x - w / 2) * 100, (y - h / 2) * 80, (x + w / 2) * 100, (y + h / 2) * 80]
        assert back == pytest.approx(box, abs=1e-3)
    assert (tmp_path / "yolo" / "labels" / "two.txt").read_text() == ""


def test_a_voc_box_of_less_than_a_pixel_is_one_that_readers_take(folder):
    records = [Detections("a.png", (100, 80), [[10.25, 20.0, 10.5, 20.5]], [0], [0.9])]
    path = write_voc(records, NAMES, folder) / "a.xml"
    (found,) = read_annotation(path).objects
    assert continuous_corners(found, path)[0] == [10.25, 20, 11.25, 21]


def test_yolo_files_beside_their_images_are_a_data_set_of_this_package(tmp_path, folder):
    root = write_yolo(RECORDS, NAMES, folder)
    for record in RECORDS:
        image = root / "images" / record.name
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", record.size).save(image)
    records, names = read_yolo(root / "data.yaml", root, "train")
    assert names == NAMES
    assert [[(b.name, b.corners) for b in r.boxes] for r in records] == [
        [("dog", pytest.approx(BOXES[0])), ("cat", pytest.approx(BOXES[1]))],
        [],
    ]


def test_csv_has_a_line_a_detection(folder):
    with write_csv(RECORDS, NAMES, folder).open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["image"], r["class"], float(r["x1"])) for r in rows] == [
        ("a b/one.jpg", "dog", 50.0),
        ("a b/one.jpg", "cat", 100.0),
    ]


def test_a_classifiers_best_classes(folder):
    results = [("x.png", Classification(torch.tensor([0.25, 0.75]), NAMES))]
    told = json.loads(write_top_k_json(results, 1, folder).read_text())
    assert told == {"x.png": [{"class": "dog", "probability": 0.75}]}
    with write_top_k_csv(results, 2, folder).open() as file:
        assert [r["class"] for r in csv.DictReader(file)] == ["dog", "cat"]


def test_images_that_differ_in_suffix_only_do_not_overwrite_each_others_files():
    assert unique_stems(["a.png", "a.jpg", "b/a.png"]) == ["a.png", "a.jpg", "b/a"]
    assert unique_stems(["a.png", "a.jpg", "a.png.bmp"]) == ["a.png", "a.jpg", "a.png.bmp"]
    assert unique_stems(["a", "a.jpg", "b"]) == ["a", "a.jpg", "b"]


def test_many_names_take_no_minutes():
    start = time.process_time()
    assert len(unique_stems([f"d/{i}.jpg" for i in range(20_000)])) == 20_000
    assert time.process_time() - start < 2


@pytest.mark.parametrize("write", [write_voc, write_yolo])
def test_no_file_is_written_outside_of_the_folder(tmp_path, write):
    out = tmp_path / "deep" / "out"
    with pytest.raises(UserError, match="/../../../a.* is no name below"):
        write([Detections("../../../a.jpg", (8, 8), [], [], [])], NAMES, PredictionFolder(out))
    assert not list(tmp_path.rglob("a.*"))


def test_a_name_that_is_not_utf8_is_in_every_format_and_any_reader_takes_them(tmp_path, folder):
    name, shown = os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"
    records = [Detections(name, (100, 80), BOXES, [1, 0], [0.9, 0.25])]
    result = [(name, Classification(torch.tensor([0.25, 0.75]), NAMES))]
    write_voc(records, NAMES, folder)
    write_yolo(records, NAMES, folder)
    (annotation,) = (tmp_path / "voc").iterdir()
    assert os.fsencode(annotation.name) == b"caf\xe9.xml"
    assert ET.parse(annotation).findtext("filename") == shown
    assert (tmp_path / "yolo" / "labels" / os.fsdecode(b"caf\xe9.txt")).read_text()
    for path in (write_csv(records, NAMES, folder), write_top_k_csv(result, 1, folder)):
        assert path.read_text(encoding="utf-8").splitlines()[1].startswith(shown)
    coco = json.loads(write_coco(records, NAMES, folder).read_text(encoding="utf-8"))
    assert coco["images"][0]["file_name"] == name
    assert list(json.loads(write_top_k_json(result, 1, folder).read_text())) == [name]


@pytest.mark.parametrize("form", DETECTION_FORMATS)
def test_every_name_that_a_detectors_format_writes_is_known_before(tmp_path, folder, form):
    records = [*RECORDS, Detections("two.jpg", (64, 48), [], [], [])]
    DETECTION_FORMATS[form](records, NAMES, folder)
    assert files_below(tmp_path) <= set(names_of(form, [r.name for r in records]))


@pytest.mark.parametrize("form", CLASSIFICATION_FORMATS)
def test_every_name_that_a_classifiers_format_writes_is_known_before(tmp_path, folder, form):
    CLASSIFICATION_FORMATS[form]([], 1, folder)
    assert files_below(tmp_path) == set(names_of(form, []))


def files_below(root):
    there = {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()}
    return there - {RECORD}
