"""The format of a folder is found out by what is in it."""

from __future__ import annotations

import json

import pytest

from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.data.catalog.register import register_from_config
from metaalign_det.data.doctor.detect import detect
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_yolo, save_image
from tests.data.make_tiny_voc import make_tiny_voc
from tests.data.trees import tiny_cfg


def read(found, split, labelled=True):
    """Register a split as the config would, and read it."""
    cfg = tiny_cfg(REGISTER=[found.entry(split, "found")])
    register_from_config(cfg)
    return load_labelled("found") if labelled else load_unlabelled("found")


def test_voc_with_its_lists(tmp_path, catalog):
    tree = make_tiny_voc(tmp_path, images=3, trees=("VOC2007",)) / "VOC2007"
    (tree / "ImageSets" / "Main" / "cat_test.txt").write_text("000001 -1\n")
    found = detect(tree)
    assert (found.format, found.kind) == ("voc", "detection")
    assert set(found.splits) == {"test", "trainval"} and found.split("train", "trainval")
    assert len(read(found, "trainval")) == 3


def test_voc_without_lists_and_in_any_nesting(tmp_path, catalog):
    tree = make_tiny_voc(tmp_path, images=2, trees=("watercolor",)) / "watercolor"
    beside = tmp_path / "beside" / "deeper"
    beside.mkdir(parents=True)
    for name in ("JPEGImages/000001.jpg", "Annotations/000001.xml"):
        (tree / name).rename(beside / name.rpartition("/")[2])
    found = detect(tmp_path / "beside")
    assert found.format == "voc" and list(found.splits) == ["all"]
    assert len(read(found, "all")[0]["annotations"]) == 1


def test_voc_images_without_annotations_are_unlabelled(tmp_path, catalog):
    tree = make_tiny_voc(tmp_path, images=2, trees=("watercolor",)) / "watercolor"
    for path in (tree / "Annotations").iterdir():
        path.unlink()
    (tree / "Annotations").rmdir()
    found = detect(tree)
    assert found.splits["train"]["LABELLED"] is False
    assert len(read(found, "train", labelled=False)) == 2


def test_coco_with_one_file(tmp_path, catalog):
    make_tiny_coco(tmp_path)
    (tmp_path / "notes.json").write_text(json.dumps({"images": "are nice"}))
    found = detect(tmp_path)
    assert found.format == "coco" and list(found.splits) == ["all"]
    assert len(read(found, "all")) == 2


def test_coco_as_it_is_published(tmp_path, catalog):
    for split in ("train2017", "val2017"):
        content = coco_json()
        for image in content["images"]:
            image["file_name"] = image["file_name"].rpartition("/")[2]
            save_image(tmp_path / split / image["file_name"])
        path = tmp_path / "annotations" / f"instances_{split}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))
    found = detect(tmp_path)
    assert set(found.splits) == {"train", "val"}
    assert found.splits["val"]["ROOT"] == str(tmp_path / "val2017")
    assert len(read(found, "val")) == 2


def test_a_coco_file_by_itself(tmp_path, catalog):
    found = detect(make_tiny_coco(tmp_path))
    assert found.format == "coco" and found.root == tmp_path
    assert len(read(found, "all")) == 2


@pytest.mark.parametrize("name", ["data.yaml", "garden.yaml"])
def test_yolo(tmp_path, catalog, name):
    make_tiny_yolo(tmp_path).rename(tmp_path / name)
    found = detect(tmp_path)
    assert found.format == "yolo" and set(found.splits) == {"train", "val"}
    assert len(read(found, "val")) == 4


def test_a_folder_per_class_also_below_splits(tmp_path, catalog):
    for split in ("train", "test"):
        for label in ("cat", "dog"):
            save_image(tmp_path / "split" / split / label / "1.png")
            save_image(tmp_path / "plain" / label / f"{split}.png")
    found = detect(tmp_path / "plain")
    assert (found.format, found.kind, list(found.splits)) == ("folder", "classification", ["all"])
    assert [d["label"] for d in read(found, "all")] == [0, 0, 1, 1]
    assert set(detect(tmp_path / "split").splits) == {"train", "test"}


def test_images_in_any_nesting(tmp_path, catalog):
    save_image(tmp_path / "a" / "b c" / "1.JPG")
    save_image(tmp_path / "2.png")
    found = detect(tmp_path)
    assert (found.format, found.kind) == ("images", "images")
    assert len(read(found, "all", labelled=False)) == 2


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no image in it or below it"):
        detect(tmp_path)
    with pytest.raises(UserError, match="gone does not exist"):
        detect(tmp_path / "gone")
