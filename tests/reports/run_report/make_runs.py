"""Run directories as a training leaves them, without a training."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog

CLASSES = ["cat", "dog"]
TARGET, SOURCE = "tiny_ink_test", "tiny_photo_test"
#: Two objects an image.
BOXES = {"cat": [5, 5, 25, 25], "dog": [40, 10, 70, 50]}
IMAGES = 4

LOG = """[11/24 09:38:33] detectron2 INFO: Environment info:
------------------  --------------------------------
sys.platform        linux
Python              3.11.7 (main) [GCC 12.2.0]
PyTorch             2.14.1+cu130 @/somewhere/torch
------------------  --------------------------------
PyTorch built with: nothing of interest

[11/24 09:50:34] d2.utils.events INFO: time: 0.4  max_mem: 512M
[11/24 09:50:34] d2.engine.hooks INFO: Overall training speed: 98 iterations in 0:01:05 (0.6 s / it)
[11/24 09:50:34] d2.engine.hooks INFO: Total training time: 0:01:06 (0:00:07 on hooks)
"""


def register_tiny(folder: Path) -> None:
    """Both test sets, images and boxes."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "image.png"
    cv2.imwrite(str(file), np.full((60, 80, 3), 200, np.uint8))
    dicts = [
        {
            "file_name": str(file),
            "image_id": f"im{i}",
            "height": 60,
            "width": 80,
            "annotations": [
                {"bbox": box, "bbox_mode": 0, "category_id": CLASSES.index(name)}
                for name, box in BOXES.items()
            ],
        }
        for i in range(IMAGES)
    ]
    for name in (TARGET, SOURCE):
        DatasetCatalog.register(name, lambda: dicts)
        MetadataCatalog.get(name).set(thing_classes=CLASSES, evaluator_type="voc_domain")


def detections(found: int) -> list[dict]:
    """Both objects in the first ``found`` images; in the others a cat called dog."""
    out = []
    for i in range(IMAGES):
        right = [(name, box, 0.9) for name, box in BOXES.items()]
        for name, box, score in right if i < found else [("dog", BOXES["cat"], 0.8)]:
            out.append({"image_id": f"im{i}", "bbox": box, "class": name, "score": score})
    return out


def write_detector(
    folder: Path,
    seed: int,
    target: float,
    *,
    adapts: bool,
    found: int = 2,
    teacher: float | None = None,
    config: dict | None = None,
) -> Path:
    """A detector's run: scores on the target as given, 60 on the source."""
    settings = {
        "SEED": seed,
        "OUTPUT_DIR": str(folder),
        "DATASETS": {
            "TRAIN": ["tiny_photo_train"],
            "TARGET": ["tiny_ink_train"] if adapts else [],
            "TEST": [TARGET, SOURCE],
            "REGISTER": [],
        },
        "SOLVER": {"MAX_ITER": 100, "BASE_LR": 0.1},
        **(config or {}),
    }
    records = []
    for i in range(19, 100, 20):
        record = {"iteration": i, "loss_cls": 2 - i / 100, "time": 0.5, "data_time": 0.1, "lr": 0.1}
        if adapts:
            record |= {"loss_da_local": 0.3, "da/local_acc_source": 0.6, "da/local_acc_target": 0.7}
            for role in ("domain", "task"):
                for stage in ("stem", "res2"):
                    record[f"lookahead/cosine/{role}/{stage}"] = 0.1 - i / 500
                    record[f"lookahead/beta/{stage}"] = 1 + i / 1000
        records.append(record)
    scores = {}
    for dataset, value in ((TARGET, target), (SOURCE, 60.0)):
        scores |= {
            f"{dataset}/voc/AP50_11pt": value,
            f"{dataset}/voc/AP50_11pt/cat": value + 5,
            f"{dataset}/voc/AP50_11pt/dog": value - 5,
        }
    if teacher is not None:
        scores[f"{TARGET}/teacher/voc/AP50_11pt"] = teacher
    records += [{"iteration": 49, **{k: v - 10 for k, v in scores.items()}}]
    records += [{"iteration": 100, **scores}]
    _write(folder, settings, records)
    for dataset in (TARGET, SOURCE):
        inference = folder / "inference" / dataset
        inference.mkdir(parents=True)
        (inference / f"detections_{dataset}.json").write_text(json.dumps(detections(found)))
    return folder


def write_classifier(folder: Path, seed: int, right: int) -> Path:
    """A classifier's run on 10 images, ``right`` of which it gets right."""
    dataset = "figures_test"
    settings = {
        "SEED": seed,
        "DATASETS": {"TRAIN": ["letters_train"], "TARGET": ["figures_train"], "TEST": [dataset]},
        "SOLVER": {"MAX_ITER": 10},
        "RIGHT": right > 5,  # makes settings of the same folder differ
    }
    _write(folder, settings, [{"iteration": 10, "classification/accuracy": 10.0 * right}])
    inference = folder / "inference" / dataset
    inference.mkdir(parents=True)
    answers = [
        {"image_id": i, "label": "cat", "predicted": CLASSES[i >= right], "score": 0.8}
        for i in range(10)
    ]
    (inference / f"predictions_{dataset}.json").write_text(json.dumps(answers))
    saved = {"classes": CLASSES, "matrix": [[right, 10 - right], [0, 0]], "results": {}}
    (inference / f"confusion_{dataset}.json").write_text(json.dumps(saved))
    return folder


def _write(folder: Path, settings: dict, records: list[dict]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    (folder / "metrics.json").write_text("".join(json.dumps(r) + "\n" for r in records))
    (folder / "log.txt").write_text(LOG)


def facts(path: Path) -> dict:
    """A report's JSON."""
    return json.loads(path.with_suffix(".json").read_text())


def texts(path: Path) -> tuple[str, str, dict]:
    """A report's HTML, Markdown and JSON."""
    return path.read_text(), path.with_suffix(".md").read_text(), facts(path)
