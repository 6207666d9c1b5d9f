"""From two folders to boxes on pictures as a user types it: three formats, a folder of anything."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pycocotools.coco import COCO

from tests.ways_in.trees import CLASSES, make_coco, make_messy, make_voc, make_yolo

ROOT = Path(__file__).parents[2]

#: Four steps and two evaluations on small images. With the usual learning rate the first that a
#: detector learns is that nearly everything is background, and then FIS has nothing to look at.
SHORT = (
    "SOLVER.MAX_ITER 4 TEST.EVAL_PERIOD 2 SOLVER.STEPS () SOLVER.BASE_LR 0.0001 "
    "SOLVER.IMS_PER_BATCH 2 SOLVER.IMS_PER_BATCH_TARGET 2 DATALOADER.NUM_WORKERS 0 "
    "INPUT.MIN_SIZE_TRAIN (72,) INPUT.MIN_SIZE_TEST 72"
)


@pytest.fixture
def metaalign_det(tmp_path) -> Callable[..., str]:
    """Runs a command in a folder of its own; what it printed."""
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    env["DETECTRON2_DATASETS"] = str(tmp_path / "not there")

    def run(*words: object) -> str:
        command = [sys.executable, "-m", "metaalign_det.cli", *map(str, words)]
        done = subprocess.run(
            command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    return run


@pytest.mark.parametrize(
    "make, format, images, tests",
    [(make_coco, "coco", 10, 0), (make_yolo, "yolo", 10, 1), (make_voc, "voc", 10, 0)],
)
def test_from_two_folders_to_boxes(tmp_path, metaalign_det, make, format, images, tests):
    make(tmp_path / "my photos")
    readable = make_messy(tmp_path / "drawings of mine")
    damaged = str(tmp_path / "drawings of mine" / "old" / "half.jpg")

    printed = metaalign_det("init", "my photos", "drawings of mine", "--output", "my.yaml")
    assert f"{format}, {images} images" in printed and ", ".join(CLASSES) in printed
    assert f"drawings of mine: images, {len(readable)} images" in printed and damaged in printed

    metaalign_det("check-data", "--config-file", "my.yaml", "--json", "findings.json")
    found = json.loads((tmp_path / "findings.json").read_text())
    assert [d["images"] for d in found["data"][:2]] == [images, len(readable)]
    assert len(found["data"]) == 2 + tests
    (unreadable,) = [f for f in found["findings"] if f["check"] == "reading"]
    assert unreadable["severity"] == "warning" and damaged in unreadable["examples"][0]
    assert not [f for f in found["findings"] if f["check"] in ("blank", "copies", "look_alikes")]

    metaalign_det("train", "--config-file", "my.yaml", *SHORT.split())
    run = tmp_path / "output" / "my"
    selection = json.loads((run / "selection.json").read_text())
    assert [c["iteration"] for c in selection["candidates"]] == [1, 4]
    assert selection["validator"] == "fis" and selection["oracle"] is None
    chosen = selection["selected"]["checkpoint"]
    assert [e["file"] for e in json.loads((run / "bad_images.json").read_text())] == [damaged]
    scored = selection["last"]["candidate"]["metrics"]
    assert [metrics["voc/AP50_11pt"] >= 0 for metrics in scored.values()] == [True] * tests

    metaalign_det(
        "predict", run / chosen, "drawings of mine", "--output", "found", "--format", "coco",
        "--threshold", "0.05", "--batch-size", "4",
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "found" / "coco.json"))
        results = truth.loadRes(str(tmp_path / "found" / "coco_results.json"))
    seen = {i["file_name"]: (i["width"], i["height"]) for i in results.loadImgs(truth.getImgIds())}
    assert seen == readable
    assert tuple(c["name"] for c in results.loadCats(results.getCatIds())) == CLASSES
    boxes = results.loadAnns(results.getAnnIds())
    assert boxes and all(0.05 <= b["score"] <= 1 and min(b["bbox"]) >= 0 for b in boxes)
    summary = json.loads((tmp_path / "found" / "summary.json").read_text())
    assert list(summary["unreadable"]) == ["old/half.jpg"]
    drawn = {
        p.relative_to(tmp_path / "found" / "pictures") for p in _files(tmp_path / "found/pictures")
    }
    assert len(drawn) == len(readable)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
