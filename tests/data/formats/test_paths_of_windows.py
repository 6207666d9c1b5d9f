"""What comes from Windows: backslashes, and suffixes in capitals or not, as nobody minds there."""

from __future__ import annotations

import json

import pytest

from metaalign_det.data.doctor.detect import detect
from metaalign_det.data.formats.class_names import ClassRule
from metaalign_det.data.formats.coco import read_coco
from metaalign_det.data.formats.image_list import read_image_list
from metaalign_det.data.formats.images import read_images
from metaalign_det.data.formats.paths import on_disk
from metaalign_det.data.formats.voc import read_voc
from metaalign_det.data.formats.yolo import read_yolo
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_yolo, save_image


def test_coco(tmp_path):
    content = coco_json()
    json_file = make_tiny_coco(tmp_path, content)
    for image in content["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\").replace(".jpg", ".JPG")
    json_file.write_text(json.dumps(content))
    assert detect(tmp_path).splits["all"]["ROOT"] == str(tmp_path / "images")
    records, _ = read_coco(json_file, tmp_path / "images")
    assert records[0].file_name == str(tmp_path / "images/sub/0 a.jpg")


def test_lists_of_images(tmp_path):
    file = save_image(tmp_path / "cats" / "1.png")
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfcats\\1.png\r\n")
    assert read_images([tmp_path / "list.txt"])[0].file_name == str(file)
    names, (found,) = read_image_list(tmp_path / "list.txt", tmp_path, ClassRule())
    assert names == ("cats",) and found["file_name"] == str(file)


@pytest.mark.parametrize("line", ["cats/1.PNG", "cats\\1.PNG", ".\\cats\\1.png"])
def test_every_kind_of_list_is_followed_alike(tmp_path, line):
    file = save_image(tmp_path / "cats" / "1.png")
    (tmp_path / "list.txt").write_text(f"{line}\n")
    assert read_images([tmp_path / "list.txt"])[0].file_name == str(file)
    (found,) = read_image_list(tmp_path / "list.txt", tmp_path, ClassRule())[1]
    assert found["file_name"] == str(file)


def test_a_name_that_holds_a_backslash_keeps_it(tmp_path):
    file = save_image(tmp_path / "cats" / "1\\2.png")
    (tmp_path / "list.txt").write_text("cats/1\\2.png\n")
    assert read_images([tmp_path / "list.txt"])[0].file_name == str(file)
    assert read_image_list(tmp_path / "list.txt", tmp_path, ClassRule())[1][0]["file_name"] == str(
        file
    )


def test_backslashes_lead_no_further_than_slashes(tmp_path):
    save_image(tmp_path / "secret.png")
    root = tmp_path / "root"
    save_image(root / "cats" / "1.png")
    path = root / "a\\..\\..\\secret.png"
    assert on_disk(path, root) == path
    (root / "list.txt").write_text("a\\..\\..\\secret.png\n")
    with pytest.raises(UserError, match="does not exist"):
        read_images([root / "list.txt"])
    with pytest.raises(UserError, match="lies outside"):
        read_image_list(root / "list.txt", root, ClassRule())


@pytest.mark.parametrize("train", ["images\\train", "..\\images\\train", "list.txt"])
def test_yolo(tmp_path, train):
    data = make_tiny_yolo(tmp_path)
    data.write_text(f"train: {train}\r\nnames: [cat, dog]\r\n", newline="")
    lines = "images\\train\\{0} b.JPG\n", ".\\images\\train\\{0} b.jpg\n"
    (tmp_path / "list.txt").write_text("".join(lines[n % 2].format(n) for n in range(4)))
    records, _ = read_yolo(data, tmp_path, "train")
    assert [len(r.boxes) for r in records] == [1, 0, 1, 0]


def test_labels_in_capitals_are_not_images_without_objects(tmp_path):
    data = make_tiny_yolo(tmp_path)
    label = tmp_path / "labels/train/0 b.txt"
    label.rename(label.with_suffix(".TXT"))
    assert [len(r.boxes) for r in read_yolo(data, tmp_path, "train")[0]] == [1, 0, 1, 0]


@pytest.mark.parametrize("split", ["train", None])
def test_voc_in_capitals(own_root, split):
    tree = own_root / "watercolor"
    xml = tree / "Annotations/000001.xml"
    xml.rename(xml.with_suffix(".XML"))
    assert read_voc(tree, split)[0].boxes


@pytest.fixture
def nested(own_root):
    """A tree with an image in a folder; writes the list that is to be read."""
    tree = own_root / "watercolor"
    for folder, suffix, given in (("JPEGImages", ".jpg", ".PNG"), ("Annotations", ".xml", ".xml")):
        (tree / folder / "s 2").mkdir()
        (tree / folder / f"000001{suffix}").rename(tree / folder / "s 2" / f"a{given}")

    def read(text):
        (tree / "ImageSets" / "Main" / "t.txt").write_text(text)
        return read_voc(tree, "t")

    read.tree = tree
    return read


@pytest.mark.parametrize("text", ["s 2\\a\n000002\n", "s 2\\a 1\n000002 -1\n"])
def test_ids_of_voc_lists(nested, text):
    first, _ = nested(text)
    assert first.image_id == "s 2/a" and first.boxes
    assert first.file_name == str(nested.tree / "JPEGImages" / "s 2" / "a.PNG")


def test_an_id_of_a_voc_list_is_one_id_with_either(nested):
    with pytest.raises(UserError, match="t.txt lists 's 2/a' twice"):
        nested("s 2\\a\ns 2/a\n")


def test_an_image_of_a_voc_tree_whose_name_holds_a_backslash_keeps_it(nested):
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        file = nested.tree / folder / f"000002{suffix}"
        file.rename(file.with_name(f"s 2\\b{suffix}"))
    assert [r.image_id for r in nested("s 2\\b\ns 2\\a\n")] == ["s 2\\b", "s 2/a"]


def test_ids_of_voc_lists_lead_no_further_than_slashes(nested):
    with pytest.raises(UserError, match=r"t.txt, line 1: '../Annotations/x' lies outside"):
        nested("..\\Annotations\\x\n")


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_labels_that_are_not_read_are_not_looked_for(own_root, tmp_path, monkeypatch, kind):
    """In several spellings each: of 100,000 images of a target that takes a while."""

    def look(path, root):
        assert path.suffix not in (".xml", ".txt")
        return path

    monkeypatch.setattr(f"metaalign_det.data.formats.{kind}.on_disk", look)
    if kind == "yolo":
        assert read_yolo(make_tiny_yolo(tmp_path), tmp_path, "train", labels=False)
        return
    for split in ("train", None):
        assert read_voc(own_root / "watercolor", split, labels=False)
