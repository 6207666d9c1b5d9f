"""Folders of splits, days, cities and masks are no classes, however many images are in them."""

from __future__ import annotations

import json
import shutil

import pytest
from detectron2.data import MetadataCatalog

from metaalign_det.data.doctor.detect import detect
from metaalign_det.errors import UserError
from tests.data.doctor.test_detect import read
from tests.data.make_tiny_formats import coco_json, make_tiny_kitti, save_image

LABELS = {"1.json": '{"version": "5", "shapes": []}', "1.txt": "0 0.5 0.5 0.25 0.5\n"}


def make_cityscapes(root, splits=("train", "val"), cities=("aachen", "bochum")):
    square = [[10, 10], [30, 12], [28, 40], [9, 38]]
    for split in splits:
        for city in cities:
            frame = f"{split}/{city}/{city}_000000_000019"
            save_image(root / "leftImg8bit" / f"{frame}_leftImg8bit.png")
            mask = save_image(root / "gtFine" / f"{frame}_gtFine_labelIds.png")
            content = {"imgHeight": 60, "imgWidth": 80}
            content["objects"] = [{"label": "car", "polygon": square}]
            path = mask.with_name(mask.name.replace("labelIds.png", "polygons.json"))
            path.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("folders", [("train", "val"), ("Train", "valid", "Test"), ("train", "x")])
def test_labelled_images_in_folders_of_splits_are_no_classes(tmp_path, label, folders):
    for folder in folders:
        save_image(tmp_path / folder / "1.jpg")
        (tmp_path / folder / label).write_text(LABELS[label])
    found = detect(tmp_path)
    assert found.format == "images" and list(found.splits) == ["all"]
    assert f"labels that are not read: {label} looks like" in found.why
    assert "FORMAT" not in found.why


@pytest.mark.parametrize("label", LABELS)
def test_labelled_images_in_other_folders_are_no_classes_either(tmp_path, label):
    for folder in ("day", "night"):
        save_image(tmp_path / folder / "1.jpg")
        (tmp_path / folder / label).write_text(LABELS[label])
    found = detect(tmp_path)
    assert found.format == "images" and f"{label} looks like" in found.why
    assert found.why.endswith("if its folders are classes, register it in a config with FORMAT: "
                              "folder")  # fmt: skip


@pytest.mark.parametrize(
    "folders, classes",
    [
        ("train val", False),
        ("train validation Test", False),
        ("train2017 val2017", False),
        ("train cat test dog", False),
        ("train masks", False),
        ("bus car train", True),  # as of vehicles
        ("train test a b c", True),
        ("cat dog", True),
    ],
)
def test_names_of_splits_are_no_classes_by_themselves(tmp_path, folders, classes):
    for folder in folders.split():
        save_image(tmp_path / folder / "1.jpg")
    found = detect(tmp_path)
    assert found.format == ("folder" if classes else "images")
    if not classes:
        assert f"{', '.join(sorted(folders.split()))} are taken for splits" in found.why


@pytest.mark.parametrize("stray", ["cat/0.json", "cat/9.txt", "results.txt"])
def test_a_stray_file_of_labels_leaves_classes_what_they_are(tmp_path, stray):
    for folder in ("cat", "dog"):
        for n in range(3):
            save_image(tmp_path / folder / f"{n}.jpg")
    name = stray.rpartition("/")[2]
    (tmp_path / stray).write_text(LABELS[f"1.{name.rpartition('.')[2]}"])
    found = detect(tmp_path)
    assert found.format == "folder"
    assert f"one per class, and labels that are not read: {name} looks like" in found.why


def test_a_class_of_a_split_may_be_called_train(tmp_path):
    for split in ("train", "val"):
        for folder in ("bus", "train"):
            save_image(tmp_path / split / folder / "1.jpg")
    assert list(detect(tmp_path).splits) == ["train", "val"]


def test_labels_behind_the_images_of_a_split_are_seen(tmp_path, monkeypatch):
    monkeypatch.setattr("metaalign_det.data.doctor.unread.ENOUGH", 2)
    for n in range(3):
        save_image(tmp_path / "train" / "images" / f"{n}.jpg")
    (tmp_path / "train" / "labels").mkdir()
    (tmp_path / "train" / "labels" / "1.txt").write_text(LABELS["1.txt"])
    assert "1.txt looks like YOLO's" in detect(tmp_path).why


def test_a_coco_file_of_other_images_beside_folders_of_images(tmp_path):
    for folder in ("train", "val", "annotations"):
        save_image(tmp_path / folder / "1.jpg")
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(coco_json()))
    found = detect(tmp_path)
    assert found.format == "images"
    assert "not those that instances_train.json names: 'sub/0 a.jpg'" in found.why


@pytest.mark.parametrize("below", ["", "leftImg8bit", "gtFine"])
def test_cityscapes_is_known_by_its_folders(tmp_path, catalog, below):
    root = make_cityscapes(tmp_path / "cs")
    found = detect(root / below)
    assert (found.format, found.kind, found.root) == ("cityscapes", "detection", root)
    assert found.splits == {s: {"ROOT": str(root), "SPLIT": s} for s in ("train", "val")}
    dicts = read(found, "train")
    assert len(dicts) == 2 and all(len(d["annotations"]) == 1 for d in dicts)


def test_cities_of_one_split_are_no_classes(tmp_path):
    root = make_cityscapes(tmp_path / "cs")
    found = detect(root / "leftImg8bit" / "val")
    assert found.splits == {"val": {"ROOT": str(root), "SPLIT": "val"}} and found.root == root
    assert found.images == root / "leftImg8bit" / "val"


def test_cityscapes_without_polygons_is_unlabelled(tmp_path, catalog):
    root = make_cityscapes(tmp_path, splits=("test", "train", "val"))
    shutil.rmtree(root / "gtFine" / "val")
    for path in root.glob("gtFine/train/*/*.json"):
        path.unlink()
    found = detect(root)
    # Those of the published test images show no object.
    assert {s: e.get("LABELLED") for s, e in found.splits.items()} == {
        "test": False, "train": False, "val": False
    }  # fmt: skip
    assert len(read(found, "train", labelled=False)) == 2
    assert "no polygons of them (*_gtFine_polygons.json)" in found.why


def test_the_fog_of_cityscapes_is_that_which_is_there(tmp_path, catalog):
    root = make_cityscapes(tmp_path)
    for image in list(root.glob("leftImg8bit/*/*/*.png")):
        for beta in ("0.005", "0.02"):
            name = f"{image.stem}_foggy_beta_{beta}.png"
            save_image(root / "leftImg8bit_foggy" / image.parent.relative_to(root / "leftImg8bit")
                       / name)  # fmt: skip
    assert "FOGGY_BETA" not in detect(root).splits["val"]
    assert "leftImg8bit_foggy are another data set" in detect(root).why
    found = detect(root / "leftImg8bit_foggy")
    assert found.splits["val"] == {"ROOT": str(root), "SPLIT": "val", "FOGGY_BETA": "0.02"}
    assert len(read(found, "val")) == 2
    for image in root.glob("leftImg8bit_foggy/*/*/*0.02.png"):
        image.unlink()
    assert detect(root / "leftImg8bit_foggy").splits["val"]["FOGGY_BETA"] == "0.005"


def test_which_split_of_cityscapes_is_meant_is_not_guessed(tmp_path):
    root = make_cityscapes(tmp_path, splits=("val", "test"))
    with pytest.raises(UserError, match="give the folder of the split that is meant, below left"):
        detect(root).choose("train")


def test_images_of_another_layout_in_a_folder_called_as_cityscapes(tmp_path):
    for city in ("aachen", "bochum"):
        save_image(tmp_path / "leftImg8bit" / "train" / city / "1.png")
    assert detect(tmp_path).format == "images"


@pytest.mark.parametrize("below", ["", "training", "training/image_2"])
@pytest.mark.parametrize("labelled", [True, False])
def test_kitti_is_known_by_its_folders(tmp_path, catalog, below, labelled):
    root = make_tiny_kitti(tmp_path)
    for n in range(2):
        save_image(root / "image_3" / f"{n:06d}.png")
    if not labelled:
        shutil.rmtree(root / "label_2")
    found = detect(tmp_path / "kitti" / below)
    assert (found.format, found.kind, found.images) == ("kitti", "detection", root / "image_2")
    assert found.splits["all"] == {"ROOT": str(root), **({} if labelled else {"LABELLED": False})}
    assert len(read(found, "all", labelled=labelled)) == 2
    assert MetadataCatalog.get("found").get("thing_classes", None) == (
        ["Car", "Pedestrian"] if labelled else None
    )
