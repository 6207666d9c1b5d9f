"""What the demonstrations show of their runs."""

from __future__ import annotations

import json

import cv2
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from metaalign_det.cli.demo_runs import draw_detection_grid, read_voc_results
from tests.data.trees import make_tiny_voc

DATASET = "watercolor_test"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """An OUTPUT_DIR with one detection and its score."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path / "data", images=2)))
    folder = tmp_path / "run" / "inference" / DATASET
    folder.mkdir(parents=True)
    image_id = (tmp_path / f"data/watercolor/ImageSets/Main/{DATASET[11:]}.txt").read_text().split()
    found = {"image_id": image_id[0], "class": "cat", "bbox": [20, 20, 200, 200], "score": 0.9}
    (folder / f"detections_{DATASET}.json").write_text(json.dumps([found]))
    scores = {"results": {"AP50_11pt": 12.5, "AP50_11pt-dog": None}}
    (folder / f"voc_{DATASET}.json").write_text(json.dumps(scores))
    return tmp_path / "run"


def test_detections_are_drawn_also_where_no_data_set_is_registered_yet(run, tmp_path):
    """The trainings run in processes of their own, and the demonstration never asked for data."""
    if DATASET in DatasetCatalog.list():
        DatasetCatalog.remove(DATASET)
        MetadataCatalog.remove(DATASET)
    picture = draw_detection_grid({"one": run, "two": run}, DATASET, tmp_path / "grid.png", count=1)
    height, width, _ = cv2.imread(str(picture)).shape
    assert height > width  # ground truth and two detectors below each other


def test_a_score_that_does_not_exist_is_nan(run):
    scores = read_voc_results(run, DATASET)
    assert scores["voc/AP50_11pt"] == 12.5
    assert scores["voc/AP50_11pt-dog"] != scores["voc/AP50_11pt-dog"]
