"""The default evaluator of whatever has boxes, and of what has classes."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Boxes, Instances

from metaalign_det.data import register_images
from metaalign_det.data.catalog.domains import load_labelled
from metaalign_det.errors import UserError
from metaalign_det.evaluation import ClassificationEvaluator, build_evaluator
from tests.data.make_tiny_formats import make_tiny_cityscapes, make_tiny_kitti
from tests.data.trees import tiny_cfg


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    make_tiny_kitti(tmp_path)
    make_tiny_cityscapes(tmp_path)
    return tmp_path


def cfg_of(root, **datasets):
    cfg = tiny_cfg(**datasets)
    cfg.OUTPUT_DIR = str(root / "output")
    return cfg


def predicted(record):
    found = Instances((record["height"], record["width"]))
    shown = [a for a in record["annotations"] if not a.get("iscrowd")]
    found.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in shown]).reshape(-1, 4))
    found.pred_classes = torch.tensor([a["category_id"] for a in shown], dtype=torch.int64)
    found.scores = torch.ones(len(shown))
    return {"instances": found}


@pytest.mark.parametrize("name", ["foggy_cityscapes_val", "cityscapes_car_val", "kitti_car_train"])
def test_street_scenes_are_scored(root, name):
    evaluator = build_evaluator(cfg_of(root, TRAIN=(name,), TEST=(name,)), name)
    dicts = load_labelled(name)
    evaluator.process(dicts, [predicted(d) for d in dicts])
    results = evaluator.evaluate()["voc"]
    assert results["AP50_area/car"] == results["AP_coco/car"] == pytest.approx(100.0)
    assert (root / "output" / "inference" / name / f"voc_{name}.json").is_file()


def test_classes_of_the_model_are_those_of_the_run(root):
    cfg = cfg_of(root, TRAIN=("kitti_car_train",), TEST=("cityscapes_val",))
    cfg.DATASETS.CLASSES = "intersection"
    evaluator = build_evaluator(cfg, "cityscapes_val")
    assert evaluator.class_names == ["car"]


def test_classifiers_have_theirs(root):
    name = "mini_digits_target_test"
    cfg = cfg_of(root, TRAIN=(name,), TEST=(name,))
    assert isinstance(build_evaluator(cfg, name), ClassificationEvaluator)


def test_images_without_labels_cannot_be_scored(root, catalog):
    register_images("bare", root / "kitti")
    with pytest.raises(UserError, match="'bare' has no labels"):
        build_evaluator(cfg_of(root, TRAIN=("kitti_car_train",), TEST=("bare",)), "bare")
