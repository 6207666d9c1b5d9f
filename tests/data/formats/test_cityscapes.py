"""Street scenes as their archives unpack, read, registered and scored."""

from __future__ import annotations

import json

import pytest
from detectron2.data import DatasetCatalog

from metaalign_det.data.catalog.builtin_driving import FOGGY_BETA
from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.data.formats.cityscapes import CITYSCAPES_CLASSES
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import make_tiny_cityscapes


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


def test_missing_fog_says_which_files_were_looked_for(root):
    for path in (root / "leftImg8bit_foggy/val").rglob("*_0.02.png"):
        path.unlink()
    with pytest.raises(UserError, match=r"\*_leftImg8bit_foggy_beta_0.02.png"):
        DatasetCatalog.get("foggy_cityscapes_val")
