"""COCO files: Detectron2's dicts where both can read, one clear sentence elsewhere."""

from __future__ import annotations

import json
import os

import pytest
from detectron2.data.datasets.coco import load_coco_json
from detectron2.structures import BoxMode

from metaalign_det.data.catalog.detection import CocoDomain
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import coco_json, make_tiny_coco


@pytest.fixture(autouse=True)
def _forget(catalog):
    pass


def load(json_file, name="coco", **options):
    return CocoDomain(name=name, root=json_file.parent / "images", json_file=json_file, **options)()


def test_equals_detectron2_but_for_corners(tmp_path, catalog):
    json_file = make_tiny_coco(tmp_path)
    ours = load(json_file)
    theirs = load_coco_json(str(json_file), str(tmp_path / "images"))
    assert [d["image_id"] for d in ours] == [d["image_id"] for d in theirs] == [10, 11]
    for mine, other in zip(ours, theirs):
        assert {k: mine[k] for k in ("file_name", "height", "width")} == {
            k: other[k] for k in ("file_name", "height", "width")
        }
        assert len(mine["annotations"]) == len(other["annotations"])
        for a, b in zip(mine["annotations"], other["annotations"]):
            assert a["bbox"] == BoxMode.convert(b["bbox"], b["bbox_mode"], BoxMode.XYXY_ABS)
            assert a["category_id"] + 1 == b["category_id"]  # without metadata it keeps the ids


def test_images_without_annotations_are_images_without_objects(tmp_path):
    assert load(make_tiny_coco(tmp_path))[-1]["annotations"] == []


def test_crowds_and_ignored_objects_are_marked(tmp_path):
    content = coco_json()
    content["annotations"][0]["iscrowd"] = 1
    content["annotations"][1]["ignore"] = 1
    crowd, ignored = load(make_tiny_coco(tmp_path, content))[0]["annotations"]
    assert crowd["iscrowd"] == 1 and ignored["difficult"] and "iscrowd" not in ignored


def test_as_a_target_only_the_images_are_looked_at(tmp_path):
    content = coco_json()
    content["annotations"] = content["categories"] = "nobody looks here"
    json_file = make_tiny_coco(tmp_path, content)
    domain = CocoDomain(name="c", root=tmp_path / "images", json_file=json_file)
    assert set(domain.without_labels()[0]) == {"file_name", "image_id", "height", "width"}


def test_boxes_without_area_are_left_out_with_a_warning(tmp_path, caplog):
    content = coco_json()
    content["annotations"][0]["bbox"] = [3, 3, 5, 0]
    assert len(load(make_tiny_coco(tmp_path, content))[0]["annotations"]) == 1
    assert "1 boxes without area are left out" in caplog.text


def test_two_entries_for_one_file_are_named(tmp_path):
    content = coco_json(3)
    content["images"][1]["file_name"] = content["images"][0]["file_name"]
    json_file = make_tiny_coco(tmp_path, content)
    with pytest.raises(UserError, match="the images 10 and 11 are the same file, .*0 a.jpg"):
        load(json_file)
    assert len(CocoDomain(name="c", root=tmp_path / "images", json_file=json_file).without_labels())


def change(content, path, value):
    *folders, last = path
    for key in folders:
        content = content[key]
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["images", 0, "file_name"], "../../secret.jpg", "image 10: .*lies outside of"),
        (["images", 0, "file_name"], "/etc/passwd", "image 10: .*lies outside of"),
        (["images", 0, "file_name"], "x" * 300, "image 10: .*more than 255 bytes"),
        (["images", 0, "file_name"], "a\0b", "image 10: .*is no path"),
        (["images", 0, "file_name"], 7, "image 10: 'file_name' must be a text, not 7"),
        (["images", 0, "file_name"], "gone.jpg", "gone.jpg does not exist; file names are"),
        (["images", 1, "id"], 10, r"images\[1\]: the id 10 is used twice"),
        (["images", 0, "id"], True, r"images\[0\]: 'id' must be a whole number, not True"),
        (["images"], [], "'images' lists none"),
        (["images"], {}, "'images' must be a list of a COCO file; it is {}"),
        (["annotations"], None, "'annotations' must be a list"),
        (["annotations", 0, "image_id"], 99, r"annotations\[0\]: there is no image with id 99"),
        (["annotations", 0, "category_id"], 99, "there is no category with id 99"),
        (["annotations", 0, "bbox"], [1, 2, 3], "'bbox' must be .x, y, width, height."),
        (["annotations", 0, "bbox"], [1, 2, None, 3], "must be a finite number, not None"),
        (["annotations", 0, "bbox"], [1, 2, 1e300, 3], "must be a finite number, not 1e"),
        (["annotations", 0, "bbox"], [1, 2, -5, 3], "negative width or height"),
        (["annotations", 0, "bbox"], [1, 2, 500, 3], "lies outside the image of 80x60"),
        (["annotations", 0, "iscrowd"], "yes", "'iscrowd' must be 0 or 1"),
        (["annotations", 0], 5, r"annotations\[0\] must be an object"),
        (["categories", 1, "name"], "cat", "two categories are called 'cat'"),
        (["categories", 1, "name"], "", "category 2: 'name' must be a text"),
    ],
)
def test_a_wrong_entry_is_named(tmp_path, path, value, message):
    content = coco_json()
    json_file = make_tiny_coco(tmp_path, content)
    change(content, path, value)
    json_file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=message) as caught:
        load(json_file)
    assert str(json_file) in str(caught.value) and len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"images": [', "is not valid JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"images": [{"id": ' + b"9" * 5000 + b"}]}", "is not valid JSON: Exceeds the limit"),
        (b'{"a": NaN}', "is not valid JSON: NaN is no number"),
        (b'{"\xff": 1}', "line 1: byte 0xff is not UTF-8"),
        (b"[1]", r"a COCO file is one object, {...}, not \[1\]"),
        (b"", "is not valid JSON"),
    ],
)
def test_a_file_that_is_no_coco_file(tmp_path, content, message):
    json_file = make_tiny_coco(tmp_path)
    json_file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        load(json_file)


def test_pipes_and_folders_are_not_waited_for(tmp_path):
    json_file = make_tiny_coco(tmp_path)
    json_file.unlink()
    os.mkfifo(json_file)
    with pytest.raises(UserError, match="is a pipe or a device"):
        load(json_file)
    with pytest.raises(UserError, match="is a folder"):
        load(json_file.parent)


def test_sizes_of_the_file_are_trusted_over_the_json(tmp_path, caplog):
    content = coco_json()
    content["images"][0]["width"] = 60
    assert load(make_tiny_coco(tmp_path, content))[0]["width"] == 80
    assert "image 10 says 60x60" in caplog.text


@pytest.mark.parametrize("convert", [float, str])
def test_a_size_may_be_written_as_a_fraction_or_as_text(tmp_path, caplog, convert):
    content = coco_json()
    for image in content["images"]:
        image.update(width=convert(image["width"]), height=convert(image["height"]))
    load(make_tiny_coco(tmp_path, content))
    assert not caplog.text


@pytest.mark.parametrize("convert", [float, str])
def test_ids_may_be_written_as_a_fraction_or_as_text(tmp_path, convert):
    content = coco_json()
    for entry in content["images"] + content["categories"]:
        entry["id"] = convert(entry["id"]) if convert is float else str(entry["id"])
    for annotation in content["annotations"]:
        annotation.update(image_id=10.0, category_id=convert(annotation["category_id"]))
        annotation["iscrowd"] = "0"
    assert len(load(make_tiny_coco(tmp_path, content))[0]["annotations"]) == 2


@pytest.mark.parametrize("wrong", [10.5, 1e300])
def test_ids_that_are_no_whole_numbers(tmp_path, wrong):
    content = coco_json()
    content["images"][0]["id"] = wrong
    with pytest.raises(UserError, match=r"images\[0\]: 'id' must be a whole number, not 1"):
        load(make_tiny_coco(tmp_path, content))


def test_a_category_called_as_another_that_has_no_object_is_left_out(tmp_path):
    content = coco_json()  # as Roboflow writes a data set that is called like its class
    content["categories"].insert(0, {"id": 0, "name": "cat", "supercategory": "none"})
    json_file = make_tiny_coco(tmp_path, content)
    domain = CocoDomain(name="c", root=tmp_path / "images", json_file=json_file)
    names, dicts = domain._read(labels=True)
    assert names == ("cat", "dog")
    assert [a["category_id"] for a in dicts[0]["annotations"]] == [0, 1]
    content["annotations"] = []
    json_file.write_text(json.dumps(content))
    assert domain._read(labels=True)[0] == ("cat", "dog")


@pytest.mark.parametrize("bbox", [None, []])
def test_an_object_with_polygons_alone_has_the_box_around_them(tmp_path, bbox):
    content = coco_json()
    content["annotations"][0].update(
        bbox=bbox, segmentation=[[5, 6, 9, 6, 7, 20], [1, 8, 2, 8, 2, 9]]
    )
    assert load(make_tiny_coco(tmp_path, content))[0]["annotations"][0]["bbox"] == [1, 6, 9, 20]


@pytest.mark.parametrize("other", [[], [[1, 2, 3]], {"counts": "x", "size": [60, 80]}, "x"])
def test_an_object_with_neither_box_nor_polygon_is_named(tmp_path, other):
    content = coco_json()
    content["annotations"][0].update(bbox=[], segmentation=other)
    with pytest.raises(UserError, match=r"annotations\[0\]: 'bbox' must be .*, not \[\]"):
        load(make_tiny_coco(tmp_path, content))
