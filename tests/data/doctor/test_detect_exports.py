"""What annotation tools export, and labels that are not read."""

from __future__ import annotations

import json

import pytest

from metaalign_det.data.doctor.detect import detect
from metaalign_det.data.doctor.folders import entries_of
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import SIZE, coco_json, make_tiny_yolo, save_image
from tests.data.make_tiny_voc import annotation_xml


def numbered_frames(root, *folders, called="annotations_{}"):
    """COCO files whose images have the same names, each in a folder of its own."""
    for folder in folders:
        content = coco_json()
        for image in content["images"]:
            image["file_name"] = f"{image['id']}.jpg"
            save_image(root / folder / image["file_name"])
        path = root / "annotations" / f"{called.format(folder.rpartition('/')[2])}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return root


@pytest.mark.parametrize("where", ["", "images/"])
def test_frames_of_all_splits_are_numbered_alike(tmp_path, where):
    numbered_frames(tmp_path, f"{where}train", f"{where}valid")
    found = detect(tmp_path)
    roots = {split: entry["ROOT"] for split, entry in found.splits.items()}
    assert roots == {
        "train": str(tmp_path / where / "train"),
        "val": str(tmp_path / where / "valid"),
    }


def test_folders_of_frames_are_told_apart_by_other_names_too(tmp_path):
    splits = detect(numbered_frames(tmp_path, "by day", "night")).splits
    assert [entry["ROOT"] for entry in splits.values()] == [
        str(tmp_path / "by day"), str(tmp_path / "night")
    ]  # fmt: skip


def test_folders_of_frames_that_nothing_tells_apart_are_named(tmp_path):
    numbered_frames(tmp_path, "day", "night", called="old_{}")
    (tmp_path / "annotations/old_night.json").rename(tmp_path / "annotations/other.json")
    with pytest.raises(UserError, match="other.json: .* are in .*/day and .*/night: call the"):
        detect(tmp_path)


def test_a_coco_file_beside_whose_folder_the_images_are(tmp_path):
    numbered_frames(tmp_path, "images")
    found = detect(tmp_path / "annotations" / "annotations_images.json")
    assert found.root == tmp_path and found.splits["all"]["ROOT"] == str(tmp_path / "images")


def test_a_coco_file_takes_no_images_from_beside_a_folder_that_has_some(tmp_path):
    numbered_frames(tmp_path, "images")
    save_image(tmp_path / "annotations" / "other.jpg")
    with pytest.raises(UserError, match="the images that it names are not there"):
        detect(tmp_path / "annotations" / "annotations_images.json")


def make_voc_of_splits(root, *splits):
    for split in splits:
        for n in range(2):
            save_image(root / split / f"{split}{n}.jpg")
            xml = annotation_xml(f"{split}{n}.jpg", SIZE, [("cat", (1, 1, 30, 20), False)])
            xml.write(root / split / f"{split}{n}.xml")


def test_voc_in_a_folder_per_split(tmp_path):
    make_voc_of_splits(tmp_path, "test", "train", "valid")
    found = detect(tmp_path)
    assert set(found.splits) == {"test", "train", "valid"}
    assert found.splits["train"] == {"ROOT": str(tmp_path / "train"), "SPLIT": None}
    assert found.choose("train") == "train"


def test_which_folder_of_voc_is_meant_is_not_guessed(tmp_path):
    make_voc_of_splits(tmp_path, "test", "valid")
    with pytest.raises(UserError, match="none is called train: give the folder that is meant"):
        detect(tmp_path).choose("train")


@pytest.mark.parametrize("split", ["val", "test"])
def test_yolo_names_splits_that_the_export_lacks(tmp_path, split):
    path = make_tiny_yolo(tmp_path)
    path.write_text("train: images/train\nnames: [cat, dog]\n" + f"{split}: ../{split}/images\n")
    found = detect(tmp_path)
    assert list(found.splits) == ["train"]
    assert found.why.endswith(f"nothing is at its {split}: '../{split}/images'")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"train: images/train\n\tval: x\nnames: [a]", "data.yaml is not valid YAML"),
        (b"train: images/train\nnames: [caf\xe9]", "data.yaml, line 2: byte 0xe9 is not UTF-8"),
    ],
)
def test_a_data_yaml_that_cannot_be_read_is_not_taken_for_images(tmp_path, content, message):
    path = make_tiny_yolo(tmp_path)
    path.write_bytes(content)
    for place in (tmp_path, path):
        with pytest.raises(UserError, match=message):
            detect(place)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("my.yaml", "train: images", "is no data.yaml of a YOLO data set: it must have names"),
        ("my.yaml", "[", "my.yaml is not valid YAML"),
        ("my.json", "{}", "is no COCO file, .* another tool"),
        ("my.zip", "", "is a file: give a folder, a COCO JSON or the data.yaml"),
    ],
)
def test_a_file_that_is_not_understood_is_told_what_it_lacks(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        detect(tmp_path / name)


@pytest.mark.parametrize(
    "name, content, what",
    [
        ("labels/1.txt", "0 0.5 0.5 0.25 1\r\n", "1.txt looks like YOLO's: write a data.yaml"),
        ("1.json", '{"version": "5", "shapes": []}', "1.json looks like labelme's"),
        ("annotations.xml", "<annotations><version/></annotations>", "looks like CVAT's own"),
        ("readme.txt", "0 photographs, 12 drawings\n", None),
        ("calibration.txt", "1 640 480 3 2\n", None),
    ],
)
def test_labels_that_are_not_read_are_told(tmp_path, name, content, what):
    save_image(tmp_path / "images" / "1.jpg")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    found = detect(tmp_path)
    assert found.format == "images"
    assert what in found.why if what else "no labels" in found.why


@pytest.mark.parametrize("beside", ["Annotations", "more"])
def test_a_split_beside_other_voc_data_is_not_all_there_is(tmp_path, beside):
    make_voc_of_splits(tmp_path, "test", beside)
    assert detect(tmp_path).splits == {"all": {"ROOT": str(tmp_path), "SPLIT": None}}


@pytest.mark.parametrize("folder", ["train_masks", "vis train"])
def test_what_is_drawn_of_a_split_is_not_taken_for_its_images(tmp_path, folder):
    numbered_frames(tmp_path, "images", folder)
    (tmp_path / f"annotations/annotations_{folder}.json").unlink()
    (tmp_path / "annotations/annotations_images.json").rename(tmp_path / "train.json")
    assert detect(tmp_path).splits["train"]["ROOT"] == str(tmp_path / "images")


def test_a_coco_file_in_capitals(tmp_path):
    numbered_frames(tmp_path, "images")
    file = tmp_path / "A.JSON"
    (tmp_path / "annotations/annotations_images.json").rename(file)
    assert detect(file).splits["all"]["JSON_FILE"] == str(file)


def test_folders_are_not_listed_for_every_json_that_is_none_of_cocos(tmp_path, monkeypatch):
    """As a JSON for each image, beside 10,000 images."""
    save_image(tmp_path / "images" / "1.jpg")
    for n in range(30):
        (tmp_path / "images" / f"{n}.json").write_text("{}")
    listed = []
    monkeypatch.setattr(
        "metaalign_det.data.doctor.detect.entries_of",
        lambda folder: listed.append(folder) or entries_of(folder),
    )
    assert detect(tmp_path).format == "images"
    assert len(listed) < 10
