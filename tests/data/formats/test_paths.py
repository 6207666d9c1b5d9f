"""Names with accents: archives and lists that were made on a Mac have them behind their letters."""

from __future__ import annotations

import json
import unicodedata

import pytest

from metaalign_det.data.formats.class_names import ClassRule
from metaalign_det.data.formats.coco import read_coco
from metaalign_det.data.formats.image_list import read_image_list
from metaalign_det.data.formats.images import read_images
from metaalign_det.data.formats.voc import read_voc
from metaalign_det.data.formats.yolo import read_yolo
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, save_image


@pytest.fixture(params=[("NFC", "NFD"), ("NFD", "NFC")], ids="->".join)
def names(request):
    """A name as the data list it, and as it is on the disk."""
    return [unicodedata.normalize(form, "caf\u00e9") for form in request.param]


def test_coco(tmp_path, names):
    listed, there = names
    content = coco_json(2)
    for image in content["images"]:
        image["file_name"] = f"{there}/{image['id']}.jpg"
    json_file = make_tiny_coco(tmp_path, content)
    for image in content["images"]:
        image["file_name"] = f"{listed}/{image['id']}.jpg"
    json_file.write_text(json.dumps(content))
    records, _ = read_coco(json_file, tmp_path / "images")
    assert records[0].file_name == str(tmp_path / "images" / there / "10.jpg")


def test_lists_of_images(tmp_path, names):
    listed, there = names
    file = save_image(tmp_path / there / f"{there}.png")
    (tmp_path / "list.txt").write_text(f"{listed}/{listed}.png\n")
    assert read_images([tmp_path / "list.txt"])[0].file_name == str(file)
    _, (found,) = read_image_list(tmp_path / "list.txt", tmp_path, ClassRule())
    assert found["file_name"] == str(file)


def test_voc(own_root, names):
    listed, there = names
    tree = own_root / "watercolor"
    (tree / "JPEGImages/000001.jpg").rename(tree / f"JPEGImages/{there}.jpg")
    # Unpacked by another program than the images.
    (tree / "Annotations/000001.xml").rename(tree / f"Annotations/{listed}.xml")
    (tree / "ImageSets/Main/train.txt").write_text(f"{listed}\n")
    for split, images in (("train", 1), (None, 8)):
        records = read_voc(tree, split)
        assert len(records) == images and records[-1].boxes


def test_yolo(tmp_path, names):
    listed, there = names
    file = save_image(tmp_path / "images" / f"{there}.png")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / f"{listed}.txt").write_text("0 .5 .5 1 1\n")
    (tmp_path / "list.txt").write_text(f"images/{listed}.png\n")
    (tmp_path / "data.yaml").write_text("train: list.txt\nnames: [cat]\n")
    (record,), _ = read_yolo(tmp_path / "data.yaml", tmp_path, "train")
    assert record.file_name == str(file) and record.boxes
