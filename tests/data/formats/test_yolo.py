"""YOLO trees: data.yaml, images beside labels, fractions of the image."""

from __future__ import annotations

import os

import pytest

from metaalign_det.data.catalog.detection import YoloDomain
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import make_tiny_yolo, save_image


@pytest.fixture(autouse=True)
def _forget(catalog):
    pass


def load(root, split="train", **options):
    return YoloDomain(name="yolo", root=root, split=split, **options)()


def test_boxes_are_pixels_and_images_without_a_label_file_show_nothing(tmp_path):
    make_tiny_yolo(tmp_path)
    dicts = load(tmp_path)
    assert [d["image_id"] for d in dicts] == [f"images/train/{i} b.JPG" for i in range(4)]
    (box,) = dicts[0]["annotations"]
    assert box["bbox"] == [30.0, 15.0, 50.0, 45.0] and box["category_id"] == 1
    assert [len(d["annotations"]) for d in dicts] == [1, 0, 1, 0]


def test_a_root_may_be_named_from_another_folder(tmp_path):
    make_tiny_yolo(tmp_path / "signs")
    (tmp_path / "here").mkdir()
    dicts = load(tmp_path / "here" / ".." / "signs")
    assert len(dicts) == 4 and dicts[0]["file_name"].startswith(str(tmp_path / "signs"))


@pytest.mark.parametrize("names", ["[cat, dog]", "{0: cat, 1: dog}", "{1: dog, 0: cat}"])
def test_names_as_a_list_or_by_number(tmp_path, names):
    make_tiny_yolo(tmp_path, names)
    assert load(tmp_path, classes=["dog", "cat"])[0]["annotations"][0]["category_id"] == 0


def test_names_that_yaml_would_convert_stay_names(tmp_path):
    make_tiny_yolo(tmp_path, "[2024, no]")
    domain = YoloDomain(name="yolo", root=tmp_path, classes=["no", "2024"])
    assert domain()[0]["annotations"][0]["category_id"] == 0


@pytest.mark.parametrize("line", ["./2 b.JPG", "{}2 b.JPG", "{root}/{}2 b.JPG"])
def test_a_list_of_images(tmp_path, line):
    data = make_tiny_yolo(tmp_path)
    where = "images/train" if line.startswith("./") else "."
    (tmp_path / where / "some.txt").write_text(line.format("images/train/", root=tmp_path))
    data.write_text(f"train: {where}/some.txt\nnames: [cat, dog]\n")
    (d,) = load(tmp_path)
    assert d["image_id"] == "images/train/2 b.JPG" and len(d["annotations"]) == 1


@pytest.mark.parametrize("line", ["./images/train/2 b.JPG", ".\\images\\train\\2 b.JPG"])
def test_a_list_in_a_folder_is_told_what_its_dots_count_from(tmp_path, line):
    data = make_tiny_yolo(tmp_path)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "t.txt").write_text(f"{line}\n")
    data.write_text("train: lists/t.txt\nnames: [cat, dog]\n")
    with pytest.raises(UserError) as error:
        load(tmp_path)
    rule = f"what starts with ./ counts from the folder of the list, {tmp_path}/lists"
    assert f"{rule}: remove ./ to have {tmp_path}/images/train/2 b.JPG read" in str(error.value)
    (tmp_path / "images/train/2 b.JPG").unlink()
    with pytest.raises(UserError) as error:
        load(tmp_path)
    assert str(error.value).endswith(rule)


def test_a_list_beside_the_images_is_told_nothing_about_dots(tmp_path):
    data = make_tiny_yolo(tmp_path)
    (tmp_path / "t.txt").write_text("./images/train/9.jpg\n")
    data.write_text("train: t.txt\nnames: [cat, dog]\n")
    with pytest.raises(UserError, match="9.jpg does not exist$"):
        load(tmp_path)


def test_several_folders_and_what_roboflow_writes(tmp_path):
    data = make_tiny_yolo(tmp_path)
    data.write_text("train: [../images/train, ../images/val]\nnames: [cat, dog]\n")
    assert len(load(tmp_path)) == 8


def test_path_is_followed_below_the_root_only(tmp_path):
    make_tiny_yolo(tmp_path / "inner")
    data = tmp_path / "inner" / "data.yaml"
    (tmp_path / "data.yaml").write_text(data.read_text().replace("/home/somebody/", ""))
    assert len(load(tmp_path)) == 4


def test_labels_beside_images_where_no_folder_is_called_images(tmp_path):
    save_image(tmp_path / "a" / "1.png")
    (tmp_path / "a" / "1.txt").write_text("0 .5 .5 1 1\n")
    (tmp_path / "data.yaml").write_text("train: a\nnames: [cat]\n")
    assert load(tmp_path)[0]["annotations"][0]["bbox"] == [0, 0, 80, 60]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_on_any_system(tmp_path, end):
    make_tiny_yolo(tmp_path)
    lines = ("0 .5 .5 .2 .2", "1 .3 .3 .1 .1", "1 .7 .7 .1 .1")  # together as long as a polygon
    label = tmp_path / "labels/train/0 b.txt"
    label.write_bytes("".join(line + end for line in lines).encode())
    assert [a["category_id"] for a in load(tmp_path)[0]["annotations"]] == [0, 1, 1]
    label.write_bytes(f"0 .5 .5 .2 .2{end}0 .5 .5 .2{end}".encode())
    with pytest.raises(UserError, match="0 b.txt, line 2: 4 fields"):
        load(tmp_path)


def test_a_polygon_becomes_its_box(tmp_path):
    make_tiny_yolo(tmp_path)
    (tmp_path / "labels/train/0 b.txt").write_text("0 0.1 0.5 0.5 0.25 0.5 0.75\n")
    assert load(tmp_path)[0]["annotations"][0]["bbox"] == pytest.approx([8, 15, 40, 45])


@pytest.mark.parametrize(
    "points, numbers", [("[2, 2]", ".45 .45 .55 .55"), ("[2, 3]", ".45 .45 2 0 0 0")]
)
def test_an_object_with_keypoints_is_its_box(tmp_path, points, numbers):
    data = make_tiny_yolo(tmp_path)
    with data.open("a") as file:
        file.write(f"kpt_shape: {points}\n")
    label = tmp_path / "labels/train/0 b.txt"
    label.write_text(f"0 .5 .5 .2 .4 {numbers}\n1 .5 .5 .2 .4\n")
    boxes = [a["bbox"] for a in load(tmp_path)[0]["annotations"]]
    assert boxes == [pytest.approx([32, 18, 48, 42])] * 2
    label.write_text("0 .1 .5 .5 .25 .5 .75\n")
    with pytest.raises(UserError, match="line 1: 7 fields; by 'kpt_shape' in data.yaml"):
        load(tmp_path)


def test_a_target_needs_neither_labels_nor_names(tmp_path):
    data = make_tiny_yolo(tmp_path)
    data.write_text("train: images/train\n")
    domain = YoloDomain(name="yolo", root=tmp_path)
    assert len(domain.without_labels()) == 4
    with pytest.raises(UserError, match="'names' must list the classes, not None"):
        domain()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 0.5 0.5 0.25", "line 2: 4 fields"),
        ("1 0.5 0.5 0.25 0.5 0.9", "line 2: 6 fields.*write the labels without scores"),
        ("2 0.5 0.5 0.25 0.5", "line 2: class '2' is not in 0 to 1"),
        ("0.5 0.5 0.5 0.25 0.5", "class '0.5' is not in 0 to 1"),
        ("x 0.5 0.5 0.25 0.5", "the class must be a finite number, not 'x'"),
        ("1 nan 0.5 0.25 0.5", "a coordinate must be a finite number, not 'nan'"),
        ("1 " + "9" * 5000 + " 0.5 0.25 0.5", "a coordinate must be a finite number"),
        ("1 30 15 20 30", "exceeds 1: coordinates are fractions"),
        ("1 0.5 0.5 -0.25 0.5", "negative width"),
        ("1 0.9 0.5 0.9 0.5", "lies outside the image"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, message):
    make_tiny_yolo(tmp_path)
    (tmp_path / "labels/train/0 b.txt").write_text(f"0 0.5 0.5 0.2 0.2\n{line}\n")
    with pytest.raises(UserError, match=f"0 b.txt, line 2.*{message.removeprefix('line 2: ')}"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: ../../etc\nnames: [a]", "etc does not exist"),
        ("train: images/../../x\nnames: [a]", "lies outside"),
        ("train: /etc\nnames: [a]", "lies outside"),
        ("val: images/val\nnames: [a]", "has no split 'train'; it has: val"),
        ("train: images/train\nnames: {0: a, 2: b}", "without a gap"),
        ("train: images/train\nnames: [a, [b]]", "class 1 in 'names' is"),
        ("train: images/train\nnc: 3\nnames: [a, b]", "'nc' is '3', but 'names' lists 2"),
        ("train: 5\nnames: [a]", "a folder or a list of images is expected"),
        ("train: {a: b}\nnames: [a]", "'train' must be a folder or a list"),
        ("train: images/train\nnames: [a, b]\nkpt_shape: 17", "'kpt_shape' must be"),
        ("[" * 10000, "nested too deeply"),
        ("a: b: c", "is not valid YAML"),
        ("- a", "expected keys"),
        (
            "train: images/train\nnames: [a, b]\nnames: [c, d]",
            "the key 'names' stands in line 2 and again in line 3; write all of it in one place",
        ),
        ("train: images/train\nnames: {0: a, 1: b, '0': c}", "the key '0' stands in line 2"),
        ("[" * 100_000, "nested too deeply"),
        ("train: !!python/object/apply:os.system [ls]\nnames: [a]", "'train'|does not exist"),
    ],
)
def test_a_wrong_data_yaml_is_named(tmp_path, content, message):
    make_tiny_yolo(tmp_path).write_text(content)
    with pytest.raises(UserError, match=f"data.yaml.*({message})"):
        load(tmp_path)


def test_a_label_file_that_is_none(tmp_path):
    make_tiny_yolo(tmp_path)
    label = tmp_path / "labels/train/0 b.txt"
    label.write_bytes(b"0 \xff\xfe")
    with pytest.raises(UserError, match=r"0 b.txt, line 1: byte 0xff is not UTF-8"):
        load(tmp_path)
    label.unlink()
    os.mkfifo(label)
    with pytest.raises(UserError, match="0 b.txt is a pipe"):
        load(tmp_path)


def test_no_label_at_all_is_an_error_that_says_where_they_were_looked_for(tmp_path):
    make_tiny_yolo(tmp_path)
    (tmp_path / "labels").rename(tmp_path / "label")
    with pytest.raises(UserError, match="none of the 4 images has a label file.*labels/train"):
        load(tmp_path)
