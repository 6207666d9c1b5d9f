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
from pycocotools.coco import COCO

from metaalign_det.errors import UserError
from metaalign_det.explain.predict import Classification
from metaalign_det.explain.predict_formats import (
    Detections,
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


def test_records_come_from_instances():
    found = Instances((80, 100), pred_boxes=Boxes(torch.tensor(BOXES)))
    found.scores, found.pred_classes = torch.tensor([0.5, 0.25]), torch.tensor([1, 0])
    assert Detections.of("x.png", found) == Detections(
        "x.png", (100, 80), BOXES, [1, 0], [0.5, 0.25]
    )


def test_pycocotools_reads_the_coco_file(tmp_path):
    path = write_coco(RECORDS, NAMES, tmp_path)
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


def test_voc_files_read_back_as_detectron2_reads_them(tmp_path):
    write_voc(RECORDS, NAMES, tmp_path)
    objects = ET.parse(tmp_path / "voc" / "a b" / "one.xml").findall("object")
    boxes = []
    for item in objects:
        box = [float(item.find("bndbox").find(k).text) for k in ("xmin", "ymin", "xmax", "ymax")]
        boxes.append([box[0] - 1, box[1] - 1, box[2], box[3]])
    assert boxes == BOXES
    assert [item.find("name").text for item in objects] == ["dog", "cat"]
    assert ET.parse(tmp_path / "voc" / "two.xml").findall("object") == []


def test_yolo_files_read_back(tmp_path):
    write_yolo(RECORDS, NAMES, tmp_path)
    told = yaml.safe_load((tmp_path / "yolo" / "data.yaml").read_text())
    lines = (tmp_path / "yolo" / "labels" / "a b" / "one.txt").read_text().splitlines()
    for line, box, k, score in zip(lines, BOXES, [1, 0], [0.9, 0.25], strict=True):
        number, x, y, w, h, s = (float(v) for v in line.split())
        assert told["names"][int(number)] == NAMES[k] and s == pytest.approx(score)
        back = [(x - w / 2) * 100, (y - h / 2) * 80, (x + w / 2) * 100, (y + h / 2) * 80]
        assert back == pytest.approx(box, abs=1e-3)
    assert (tmp_path / "yolo" / "labels" / "two.txt").read_text() == ""


def test_csv_has_a_line_a_detection(tmp_path):
    with write_csv(RECORDS, NAMES, tmp_path).open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["image"], r["class"], float(r["x1"])) for r in rows] == [
        ("a b/one.jpg", "dog", 50.0),
        ("a b/one.jpg", "cat", 100.0),
    ]


def test_a_classifiers_best_classes(tmp_path):
    results = [("x.png", Classification(torch.tensor([0.25, 0.75]), NAMES))]
    told = json.loads(write_top_k_json(results, 1, tmp_path).read_text())
    assert told == {"x.png": [{"class": "dog", "probability": 0.75}]}
    with write_top_k_csv(results, 2, tmp_path).open() as file:
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
    with pytest.raises(UserError, match="'../../../a.* is no name below"):
        write([Detections("../../../a.jpg", (8, 8), [], [], [])], NAMES, out)
    assert not list(tmp_path.rglob("a.*"))


def test_a_name_that_is_not_utf8_is_in_every_format_and_any_reader_takes_them(tmp_path):
    name, shown = os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"
    records = [Detections(name, (100, 80), BOXES, [1, 0], [0.9, 0.25])]
    result = [(name, Classification(torch.tensor([0.25, 0.75]), NAMES))]
    write_voc(records, NAMES, tmp_path)
    write_yolo(records, NAMES, tmp_path)
    (annotation,) = (tmp_path / "voc").iterdir()
    assert os.fsencode(annotation.name) == b"caf\xe9.xml"
    assert ET.parse(annotation).findtext("filename") == shown
    assert (tmp_path / "yolo" / "labels" / os.fsdecode(b"caf\xe9.txt")).read_text()
    for path in (write_csv(records, NAMES, tmp_path), write_top_k_csv(result, 1, tmp_path)):
        assert path.read_text(encoding="utf-8").splitlines()[1].startswith(shown)
    coco = json.loads(write_coco(records, NAMES, tmp_path).read_text(encoding="utf-8"))
    assert coco["images"][0]["file_name"] == name
    assert list(json.loads(write_top_k_json(result, 1, tmp_path).read_text())) == [name]
