"""From a user's pictures to a trained and scored detector, in the formats they have."""

from __future__ import annotations

import pytest

from metaalign_det.data import check_data, register_all
from metaalign_det.engine.trainer import AdaptationTrainer
from tests.data.make_tiny_formats import coco_json, make_tiny_coco, make_tiny_yolo, save_image
from tests.tiny import tiny_cfg


def coco(root):
    make_tiny_coco(root / "photos", coco_json(4, ("cat", "dog")))
    return {"FORMAT": "coco", "ROOT": "photos/images", "JSON_FILE": "photos/instances.json"}


def yolo(root):
    make_tiny_yolo(root / "photos")
    return {"FORMAT": "yolo", "ROOT": "photos", "SPLIT": "train"}


@pytest.mark.parametrize("source", [coco, yolo])
def test_labelled_photographs_and_a_folder_of_drawings(source, tmp_path, monkeypatch, catalog):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    for name in ("a b/1.PNG", "a b/deep/2.JPG", "3.jpeg"):
        save_image(tmp_path / "drawings" / name, (64, 96))
    # The drawings that somebody labelled list the classes in another order, and one more.
    make_tiny_coco(tmp_path / "labelled", coco_json(2, ("Dog", "Cat", "cow")))
    cfg = tiny_cfg(
        "DATASETS.TRAIN", ("photos",), "DATASETS.TARGET", ("drawings",),
        "DATASETS.TEST", ("labelled",), "DATASETS.CLASSES", "intersection",
        "MODEL.ROI_HEADS.NUM_CLASSES", 2, "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64,
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 1, "DATALOADER.NUM_WORKERS", 0,
        "OUTPUT_DIR", str(tmp_path / "output"),
    )  # fmt: skip
    cfg.DATASETS.REGISTER = [
        {"NAME": "photos", **source(tmp_path)},
        {"NAME": "drawings", "FORMAT": "images", "ROOT": "drawings"},
        {"NAME": "labelled", "FORMAT": "coco", "ROOT": "labelled/images",
         "JSON_FILE": "labelled/instances.json"},
    ]  # fmt: skip
    register_all(cfg)
    assert [row.images for row in check_data(cfg)] == [4, 3, 2]
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    scores = trainer.test(cfg, trainer.model)["voc"]
    assert {"AP50_11pt", "AP50_area/cat", "AP_coco/dog"} <= set(scores)
    assert not any("cow" in name for name in scores)
