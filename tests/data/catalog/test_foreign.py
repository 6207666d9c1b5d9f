"""Data that the user's own code registered with Detectron2."""

from __future__ import annotations

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode

from metaalign_det.data import build_test_loader, check_data
from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.errors import UserError
from metaalign_det.evaluation import build_evaluator
from tests.data.make_tiny_formats import make_tiny_coco, save_image
from tests.data.trees import tiny_cfg


@pytest.fixture
def register(catalog):
    def registered(dicts, classes=("cat", "dog"), **metadata):
        DatasetCatalog.register("own", dicts if callable(dicts) else lambda: dicts)
        MetadataCatalog.get("own").set(thing_classes=list(classes), **metadata)

    return registered


def box(**more):
    return {"bbox": [1, 2, 3, 4], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1, **more}


def test_register_coco_instances_is_served_everywhere(tmp_path, catalog):
    json_file = make_tiny_coco(tmp_path)
    register_coco_instances("own", {}, str(json_file), str(tmp_path / "images"))
    cfg = tiny_cfg(TRAIN=("own",), TARGET=(), TEST=("own",))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 2
    cfg.OUTPUT_DIR = str(tmp_path)
    assert [r.classes for r in check_data(cfg)] == [("cat", "dog")] * 2
    images = [d for batch in build_test_loader(cfg, "own") for d in batch]
    assert [d["image_id"] for d in images] == [10, 11]
    assert build_evaluator(cfg, "own").class_names == ["cat", "dog"]
    assert "annotations" not in load_unlabelled("own")[0]


def test_what_detectron2_leaves_optional_is_filled_in(tmp_path, register):
    file = save_image(tmp_path / "1.png")
    register([{"file_name": file, "annotations": [box()]}])
    (d,) = load_labelled("own")
    assert d["image_id"] == d["file_name"] == str(file)
    assert (d["width"], d["height"]) == (80, 60)


def test_image_labels_by_the_kind_in_the_metadata(tmp_path, register):
    register([{"file_name": "1.png", "label": 1}], evaluator_type="classification")
    assert load_labelled("own")[0]["label"] == 1


@pytest.mark.parametrize(
    ("dicts", "message"),
    [
        ("text", "must return a list of dicts"),
        ([3], "must return a list of dicts"),
        ([{}], r"image 0 \(None\): 'file_name' must be a path"),
        ([{"file_name": "a", "annotations": 3}], "'annotations' must be a list of dicts"),
        ([{"file_name": "a", "annotations": [box(bbox=[1, 2])]}], "'bbox' must be four finite"),
        (
            [{"file_name": "a", "annotations": [box(bbox=[1, 2, 3, float("nan")])]}],
            "'bbox' must be four finite numbers",
        ),
        (
            [{"file_name": "a", "annotations": [box(bbox_mode=None)]}],
            "XYXY_ABS or XYWH_ABS",
        ),
        ([{"file_name": "a", "annotations": [box(category_id=2)]}], "'category_id' is 2, but"),
        ([{"file_name": "a", "annotations": [box(category_id="x")]}], "must be a class number"),
        ([{"file_name": "a", "label": 1}], "'own' has no labels.*evaluator_type"),
    ],
)
def test_what_nobody_could_use_is_refused_by_name(register, dicts, message):
    register(dicts)
    with pytest.raises(UserError, match=f"'own'.*{message}|{message}"):
        load_labelled("own")


def test_labels_of_a_target_are_not_looked_at(tmp_path, register):
    register([{"file_name": str(save_image(tmp_path / "1.png")), "annotations": "nobody looks"}])
    assert set(load_unlabelled("own")[0]) == {"file_name", "image_id", "height", "width"}


def test_names_that_lead_out_of_the_output_folder(catalog):
    DatasetCatalog.register("../../own", list)
    with pytest.raises(UserError, match="must not start with a dot, hold slashes"):
        load_labelled("../../own")


@pytest.mark.parametrize(
    "error, message",
    [
        (ModuleNotFoundError("No module named 'shapely'", name="shapely"), "pip install shapely$"),
        (FileNotFoundError(2, "No such file", "/data/a.json"), "/data/a.json does not exist$"),
        (KeyError("width"), "the key 'width' is missing. Registered with FORMAT coco or voc"),
        (ValueError("Expecting value: line 1"), "Expecting value: line 1. Registered with"),
        (AssertionError("/data/a.png"), "/data/a.png is missing, or not as expected$"),
    ],
)
def test_what_detectron2s_readers_raise_is_one_sentence(catalog, error, message):
    def function():
        raise error

    function.__module__ = "detectron2.data.datasets.builtin"
    catalog.register("theirs", function)
    with pytest.raises(UserError, match=f"^data set 'theirs'.*{message}"):
        load_labelled("theirs")


@pytest.mark.parametrize("error", [ZeroDivisionError, AssertionError, KeyError])
def test_a_mistake_in_the_users_own_function_keeps_its_traceback(catalog, error):
    def function():
        raise error

    catalog.register("own", function)
    with pytest.raises(error):
        load_labelled("own")
