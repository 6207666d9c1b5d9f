"""Street scenes as their archives unpack, read, registered and scored."""

from __future__ import annotations

import json

import pytest
from detectron2.data import DatasetCatalog

from metaalign_det.data.catalog.builtin_driving import FOGGY_BETA
from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.data.formats.cityscapes import CITYSCAPES_CLASSES, read_cityscapes
from metaalign_det.data.formats.problems import AreaError, SizeError, collected
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import make_tiny_cityscapes, save_image


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return make_tiny_cityscapes(tmp_path)


def test_polygons_become_boxes_and_groups_crowds(root):
    dicts = load_labelled("cityscapes_val")
    assert [d["image_id"] for d in dicts] == [
        f"{city}/{city}_000000_000019_leftImg8bit" for city in ("aachen", "bochum")
    ]
    car, group, person = dicts[0]["annotations"]
    assert car["bbox"] == [9, 10, 30, 40] and car["category_id"] == CITYSCAPES_CLASSES.index("car")
    assert group["iscrowd"] == 1 and group["category_id"] == car["category_id"]
    assert person["bbox"] == [0, 5, 6, 60]  # it leaves the image


def test_fog_has_the_labels_of_the_clear_image_and_one_thickness(root):
    foggy, clear = load_labelled("foggy_cityscapes_train"), load_labelled("cityscapes_train")
    assert [d["annotations"] for d in foggy] == [d["annotations"] for d in clear]
    assert all(d["file_name"].endswith(f"_foggy_beta_{FOGGY_BETA}.png") for d in foggy)


def test_cars_alone(root):
    dicts = load_labelled("cityscapes_car_val")
    assert [a["category_id"] for a in dicts[0]["annotations"]] == [0, 0]


def test_a_target_does_not_need_its_labels(root):
    for path in (root / "gtFine").rglob("*.json"):
        path.write_text("nobody looks here")
    assert len(load_unlabelled("foggy_cityscapes_train")) == 2
    with pytest.raises(UserError, match="'foggy_cityscapes_train': .*polygons.json is not valid"):
        load_labelled("foggy_cityscapes_train")


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        (5, "'objects' must be a list, not 5"),
        ([5], r"objects\[0\] must have a 'label'"),
        ([{"label": "car"}], "'polygon' must list corners, not None"),
        ([{"label": "car", "polygon": [[1]]}], r"is \[x, y\], not \[1\]"),
        ([{"label": "car", "polygon": [[1, "a"]]}], "finite number, not 'a'"),
    ],
)
def test_a_wrong_polygon_file_is_named(root, objects, message):
    path = next((root / "gtFine/val/aachen").iterdir())
    path.write_text(json.dumps({"objects": objects}))
    with pytest.raises(UserError, match=f"{path.name}.*{message}"):
        load_labelled("cityscapes_val")


def rectangle(label, x0, y0, x1, y1):
    return {"label": label, "polygon": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}


def one_frame(root, size, objects, **claimed):
    """A tree of one image."""
    save_image(root / "leftImg8bit/val/bonn/bonn_0_leftImg8bit.png", size)
    path = root / "gtFine/val/bonn/bonn_0_gtFine_polygons.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**claimed, "objects": objects}))
    return root


CAR, HALF, PERSON = (
    rectangle("car", 20, 20, 80, 80),
    rectangle("car", 140, 20, 180, 80),
    rectangle("person", 200, 130, 220, 180),
)


def test_polygons_of_a_resized_copy_are_neither_cut_off_nor_lost_in_silence(tmp_path):
    one_frame(tmp_path, (160, 120), [CAR, HALF, PERSON], imgWidth=320, imgHeight=240)
    with collected() as problems:
        (record,) = read_cityscapes(tmp_path, "val")
    assert [box.corners for box in record.boxes] == [[20, 20, 80, 80]]
    half, person, size = map(str, problems)
    assert "objects[1]: the box around 'car', (140, 20, 180, 80) in pixels, lies outside" in half
    assert "objects[2]: the box around 'person', (200, 130, 220, 180) in pixels, lies" in person
    assert isinstance(problems[2], SizeError)
    assert "bonn_0_gtFine_polygons.json says 320x240, the image has 160x120" in size
    with pytest.raises(UserError, match=r"polygons.json: objects\[1\].*image of 160x120 pixels"):
        read_cityscapes(tmp_path, "val")


def test_a_resized_copy_whose_boxes_all_fit_is_warned_of(tmp_path, caplog):
    one_frame(tmp_path, (160, 120), [CAR], imgWidth=320, imgHeight=240)
    assert len(read_cityscapes(tmp_path, "val")[0].boxes) == 1
    assert "1 annotations disagree with their image about its size" in caplog.text


@pytest.mark.parametrize("claimed", [{}, {"imgWidth": 160, "imgHeight": 120.0}])
def test_the_right_size_or_none_is_not_warned_of(tmp_path, caplog, claimed):
    one_frame(tmp_path, (160, 120), [CAR], **claimed)
    read_cityscapes(tmp_path, "val")
    assert not caplog.text


@pytest.mark.parametrize("over, fits", [(2, True), (20, True), (21, False)])
def test_a_polygon_may_be_drawn_past_the_edge_by_a_hundredth(tmp_path, over, fits):
    one_frame(tmp_path, (2048, 1024), [rectangle("bus", 1900, 500, 2048 + over, 600)])
    if fits:
        assert read_cityscapes(tmp_path, "val")[0].boxes[0].corners == [1900, 500, 2048, 600]
    else:
        with pytest.raises(UserError, match="lies outside the image of 2048x1024"):
            read_cityscapes(tmp_path, "val")


def test_a_polygon_may_leave_the_image_that_it_was_drawn_on_by_any_length(tmp_path):
    far = rectangle("bus", -300, 500, 200, 600)
    one_frame(tmp_path, (2048, 1024), [far], imgWidth=2048, imgHeight=1024)
    assert read_cityscapes(tmp_path, "val")[0].boxes[0].corners == [0, 500, 200, 600]


def test_a_polygon_beside_the_image_that_it_was_drawn_on_is_left_out_and_told(tmp_path):
    beside = rectangle("bus", 2048, 500, 2049, 600)
    one_frame(tmp_path, (2048, 1024), [beside, CAR], imgWidth=2048, imgHeight=1024)
    with collected() as problems:
        (record,) = read_cityscapes(tmp_path, "val")
    assert [box.name for box in record.boxes] == ["car"]
    assert [type(p) for p in problems] == [AreaError]


def test_missing_fog_says_which_files_were_looked_for(root):
    for path in (root / "leftImg8bit_foggy/val").rglob("*_0.02.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"\*_leftImg8bit_foggy_beta_0.02.png"):
        DatasetCatalog.get("foggy_cityscapes_val")
