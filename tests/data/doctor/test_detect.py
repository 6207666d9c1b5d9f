"""The format of a folder is found out by what is in it."""

from __future__ import annotations

import json

import pytest
from detectron2.data import MetadataCatalog

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


def test_voc_lists_of_some_images_are_splits_too(tmp_path):
    tree = make_tiny_voc(tmp_path, images=2, trees=("watercolor",)) / "watercolor"
    for name, text in (("day_train", "000001\n"), ("cat_train", "000001  1\n000002 -1\n")):
        (tree / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    assert set(detect(tree).splits) == {"train", "test", "day_train"}


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


def test_a_stray_image_beside_class_folders_is_named(tmp_path):
    for name in ("cat/1.jpg", "dog/1.jpg", "cover.jpg", "more.jpg"):
        save_image(tmp_path / name)
    found = detect(tmp_path)
    assert found.format == "images"
    assert "2 folders of images would be classes without 'cover.jpg' and 1 more" in found.why


def test_splits_in_capitals_are_the_same_splits(tmp_path, catalog):
    for split, images in (("Test", 1), ("Train", 3), ("Val", 2)):
        for n in range(images):
            save_image(tmp_path / "sorted" / split / "cat" / f"{n}.png")
            save_image(tmp_path / "sorted" / split / "dog" / f"{n}.png")
    tree = make_tiny_voc(tmp_path, images=3, trees=("watercolor",)) / "watercolor"
    for name in ("train", "test"):
        path = tree / "ImageSets" / "Main" / f"{name}.txt"
        path.rename(path.with_stem(name.capitalize()))
    for folder, images in (("sorted", 6), ("watercolor", 3)):
        found = detect(tmp_path / folder)
        assert found.choose("train") == "Train" and found.choose("test", "val") == "Test"
        assert len(read(found, found.choose("train"))) == images
        catalog.remove("found")
        MetadataCatalog.remove("found")


def test_which_of_several_splits_is_meant_is_not_guessed(tmp_path):
    for split in ("val", "test"):
        for label in ("cat", "dog"):
            save_image(tmp_path / "photos" / split / label / "1.png")
    found = detect(tmp_path / "photos")
    message = "photos has the splits test, val, and none is called train: give the folder"
    with pytest.raises(UserError, match=message):
        found.choose("train", "training")
    assert detect(tmp_path / "photos" / "val").choose("train") == "all"


def test_a_coco_file_that_writes_accents_as_numbers(tmp_path, catalog):
    content = coco_json()
    for image in content["images"]:
        image["file_name"] = f"caf\u00e9/{image['id']}.jpg"
    json_file = make_tiny_coco(tmp_path, content)
    assert "\\u00e9" in json_file.read_text()
    found = detect(tmp_path)
    assert found.format == "coco" and len(read(found, "all")) == 2


def make_coco_files(root, *files):
    for file in files:
        content = coco_json()
        path = root / file
        for image in content["images"]:
            image["file_name"] = f"{path.stem}/{image['id']}.jpg"
        make_tiny_coco(root, content).rename(path)
    return root


def test_each_of_several_coco_files_is_a_split(tmp_path, catalog):
    for folder in ("annotations", "old"):
        (tmp_path / folder).mkdir()
    make_coco_files(tmp_path, "annotations/day.json", "annotations/night.json", "old/night.json")
    found = detect(tmp_path)
    assert set(found.splits) == {"day", "annotations_night", "old_night"}
    assert len(read(found, "day")) == 2
    with pytest.raises(UserError, match="none is called train: give the JSON file"):
        found.choose("train")


def test_other_annotations_of_the_same_coco_images_are_no_split(tmp_path):
    names = ("instances_train2017.json", "person_keypoints_train2017.json", "val.json")
    assert set(detect(make_coco_files(tmp_path, *names)).splits) == {"train", "val"}


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


def test_what_a_mac_adds_to_an_archive_is_no_split(tmp_path):
    tree = make_tiny_voc(tmp_path, images=2, trees=("watercolor",)) / "watercolor"
    (tree / "ImageSets" / "Main" / "._train.txt").write_bytes(b"\0\5\x16\7\xff")
    assert set(detect(tree).splits) == {"train", "test"}


def test_the_xml_of_other_tools_is_not_vocs(tmp_path):
    save_image(tmp_path / "images" / "1.jpg")
    (tmp_path / "annotations.xml").write_text("<annotations><version>1.1</version></annotations>")
    assert detect(tmp_path).format == "images"


def test_a_coco_file_some_of_whose_images_are_missing(tmp_path, catalog):
    json_file = make_tiny_coco(tmp_path, coco_json(30))
    for n in range(12):
        (tmp_path / "images" / "sub" / f"{n} a.jpg").unlink()
    save_image(tmp_path / "sub" / "20 a.jpg")  # one of that name elsewhere
    for place in (tmp_path, json_file):
        found = detect(place)
        assert found.format == "coco" and found.splits["all"]["ROOT"] == str(tmp_path / "images")


def test_a_coco_file_of_another_machine_is_said_to_be_one(tmp_path):
    json_file = make_tiny_coco(tmp_path)
    json_file.write_text(json_file.read_text().replace("sub/", "/home/somebody/sub/"))
    found = detect(tmp_path)
    assert found.format == "images"
    assert "not those that instances.json names: '/home/somebody/sub/0 a.jpg'" in found.why
    with pytest.raises(UserError, match="instances.json: the images that it names are not there"):
        detect(json_file)


def test_links_are_followed_as_in_reading_and_loops_end(tmp_path, catalog):
    save_image(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "drawings").mkdir()
    (tmp_path / "drawings" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "drawings")
    (tmp_path / "drawings" / "itself").symlink_to(tmp_path / "drawings" / "itself")
    found = detect(tmp_path / "drawings")
    assert found.format == "images" and len(read(found, "all", labelled=False)) == 1


@pytest.mark.parametrize(
    "test, found",
    [("../test/images", False), ("null", False), ("", False), ("images/val", True), ("{}", True)],
)
def test_yolo_names_a_test_that_need_not_be_there(tmp_path, test, found):
    path = make_tiny_yolo(tmp_path)
    path.write_text(path.read_text() + f"test: {test}\n".replace("{}", "{a: b}"))
    assert ("test" in detect(tmp_path).splits) == found


def test_yaml_that_is_nested_too_deeply_is_none_of_yolos(tmp_path):
    save_image(tmp_path / "1.png")
    (tmp_path / "odd.yml").write_text("[" * 10000)
    assert detect(tmp_path).format == "images"


def test_a_home_that_is_nobodys(tmp_path):
    with pytest.raises(UserError, match="~nobody_here/x does not exist"):
        detect("~nobody_here/x")
