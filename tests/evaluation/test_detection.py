"""The evaluator: catalogues in, percentages by class name out."""

from __future__ import annotations

import json
import logging
import math

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset
from detectron2.structures import Boxes, BoxMode, Instances
from PIL import Image

from metaalign_det.errors import UserError
from metaalign_det.evaluation import DetectionEvaluator

CLASSES = ["bicycle", "bird", "car"]


def record(i, objects, **more):
    """``objects``: (class index, box, difficult)."""
    return {
        "image_id": f"im{i}",
        "file_name": f"im{i}.jpg",
        "height": 60,
        "width": 80,
        "annotations": [
            {"category_id": k, "bbox": b, "bbox_mode": BoxMode.XYXY_ABS, "difficult": d}
            for k, b, d in objects
        ],
        **more,
    }


RECORDS = [
    record(0, [(0, [0, 0, 20, 20], 0), (1, [30, 30, 60, 50], 0)]),
    record(1, [(1, [10, 10, 30, 40], 0)]),
    record(2, []),
]


def output(objects):
    """``objects``: (class index, box, score)."""
    found = Instances((60, 80))
    found.pred_boxes = Boxes(torch.tensor([b for _, b, _ in objects]).float().reshape(-1, 4))
    found.pred_classes = torch.tensor([k for k, _, _ in objects], dtype=torch.int64)
    found.scores = torch.tensor([s for _, _, s in objects], dtype=torch.float32)
    return {"instances": found}


def perfect(rec, shift=0):
    return output([(a["category_id"] + shift, a["bbox"], 0.9) for a in rec["annotations"]])


@pytest.fixture
def dataset():
    names = []

    def register(records=RECORDS, classes=CLASSES):
        name = f"evaluated_{len(names)}"
        DatasetCatalog.register(name, lambda: records)
        MetadataCatalog.get(name).thing_classes = classes
        names.append(name)
        return name

    yield register
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def run(evaluator, records, outputs):
    evaluator.process(records, outputs)
    return evaluator.evaluate()["voc"]


def test_perfect_predictions_score_100_and_a_class_without_objects_is_left_out(dataset, caplog):
    evaluator = DetectionEvaluator(dataset())
    with caplog.at_level(logging.INFO, "metaalign_det"):
        results = run(evaluator, RECORDS, [perfect(r) for r in RECORDS])
    for metric in ("AP50_11pt", "AP50_area", "AP_coco"):
        assert results[metric] == pytest.approx(100.0)
        assert results[f"{metric}/bird"] == pytest.approx(100.0)
        assert math.isnan(results[f"{metric}/car"])
    assert "no ground truth for car" in caplog.text
    assert "bicycle" in caplog.text


def test_means_are_over_classes(dataset):
    """bicycle found, both birds missed: (100 + 0) / 2."""
    outputs = [output([(0, [0, 0, 20, 20], 0.9)]), output([]), output([])]
    results = run(DetectionEvaluator(dataset()), RECORDS, outputs)
    assert results["AP50_area"] == pytest.approx(50.0)
    assert results["AP50_11pt/bird"] == 0.0


def test_nothing_detected_and_images_never_seen_count_as_zero(dataset, caplog):
    evaluator = DetectionEvaluator(dataset())
    assert evaluator.evaluate()["voc"]["AP50_11pt"] == 0.0
    assert "no predictions for 3 of 3 images" in caplog.text
    results = run(evaluator, RECORDS, [output([]) for _ in RECORDS])
    assert results["AP_coco"] == 0.0


def test_a_data_set_without_images_gives_nan(dataset):
    results = DetectionEvaluator(dataset(), dicts=[]).evaluate()["voc"]
    assert all(math.isnan(v) for v in results.values())


def test_an_image_predicted_twice_counts_once(dataset, caplog):
    evaluator = DetectionEvaluator(dataset())
    evaluator.process(RECORDS, [perfect(r) for r in RECORDS])
    results = run(evaluator, RECORDS, [perfect(r) for r in RECORDS])
    assert results["AP50_area"] == pytest.approx(100.0)
    assert "3 images were predicted more than once" in caplog.text


def test_evaluating_twice_gives_the_same_and_reset_forgets(dataset):
    evaluator = DetectionEvaluator(dataset())
    first = run(evaluator, RECORDS, [perfect(r) for r in RECORDS])
    assert evaluator.evaluate()["voc"]["AP50_11pt"] == first["AP50_11pt"]
    evaluator.reset()
    assert evaluator.evaluate()["voc"]["AP50_11pt"] == 0.0


def test_a_larger_head_is_mapped_by_name(dataset):
    """The head knows cat first, so that its bird is number 2 and its extra class is dropped."""
    name = dataset()
    evaluator = DetectionEvaluator(name, model_class_names=["cat", "bicycle", "bird", "car"])
    outputs = [perfect(r, shift=1) for r in RECORDS]
    outputs[2] = output([(0, [0, 0, 5, 5], 1.0)])
    assert run(evaluator, RECORDS, outputs)["AP50_area"] == pytest.approx(100.0)


def test_a_subset_of_the_classes_can_be_scored(dataset):
    evaluator = DetectionEvaluator(dataset(), ["bird"])
    results = run(evaluator, RECORDS, [perfect(r) for r in RECORDS])
    assert set(results) == {f"{m}{c}" for m in ("AP50_11pt", "AP50_area", "AP_coco")
                            for c in ("", "/bird")}  # fmt: skip
    assert results["AP50_area"] == pytest.approx(100.0)


def test_difficult_objects_are_ignored(dataset):
    records = [record(0, [(0, [0, 0, 20, 20], 0), (0, [30, 30, 50, 50], 1)])]
    name = dataset(records)
    for outputs in ([perfect(records[0])], [output([(0, [0, 0, 20, 20], 0.9)])]):
        assert run(DetectionEvaluator(name), records, outputs)["AP50_11pt"] == pytest.approx(100)


def test_files_are_written_as_strict_json(dataset, tmp_path):
    name = dataset()
    evaluator = DetectionEvaluator(name, output_dir=tmp_path / "new")
    run(evaluator, RECORDS, [perfect(r) for r in RECORDS])
    saved = json.loads((tmp_path / "new" / f"voc_{name}.json").read_text())
    assert saved["results"]["AP50_11pt/car"] is None
    assert saved["objects"] == {"bicycle": 1, "bird": 2, "car": 0}
    found = json.loads((tmp_path / "new" / f"detections_{name}.json").read_text())
    assert found[0] == {
        "image_id": "im0",
        "bbox": [0.0, 0.0, 20.0, 20.0],
        "class": "bicycle",
        "score": pytest.approx(0.9),
    }


def test_several_test_sets_go_through_detectron2s_loop(dataset):
    """And the flattened result is finite where it matters."""

    class Model(torch.nn.Module):
        def forward(self, batch):
            return [perfect(r) for r in batch]

    names = [dataset(), dataset()]
    for name in names:
        evaluator = DatasetEvaluators([DetectionEvaluator(name)])
        results = inference_on_dataset(Model(), [[r] for r in RECORDS], evaluator)
        assert results["voc"]["AP50_11pt"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("records", "arguments", "message"),
    [
        (RECORDS, {"class_names": ["bird", "cow"]}, "cannot score cow: data set"),
        (RECORDS, {"model_class_names": ["bird", "car"]}, "cannot score bicycle: the model"),
        ([{"image_id": "a", "file_name": "a.jpg"}], {}, "has no labels"),
        ([record(0, [(7, [0, 0, 5, 5], 0)])], {}, "im0.jpg.*is 7, but 'thing_classes'.*3 classes"),
        ([record(0, []), record(0, [], file_name="b.jpg")], {}, "'im0' for two files"),
    ],
)
def test_bad_data_sets_are_refused_by_name(dataset, records, arguments, message):
    with pytest.raises(UserError, match=message):
        DetectionEvaluator(dataset(records), **arguments)


def test_a_data_set_without_class_names_is_refused(dataset):
    with pytest.raises(UserError, match="thing_classes"):
        DetectionEvaluator(dataset(classes=[]))


def test_boxes_as_coco_has_them_and_data_without_ids_and_sizes(dataset, tmp_path):
    files = [str(tmp_path / f"{i}.png") for i in range(2)]
    for file in files:
        Image.new("RGB", (80, 60)).save(file)
    box = {"bbox": [10, 20, 30, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    crowd = {**box, "bbox": [50, 0, 20, 20], "iscrowd": 1}
    records = [
        {"file_name": files[0], "annotations": [box, crowd]},
        {"file_name": files[1], "annotations": []},
    ]
    found = output([(0, [10, 20, 40, 60], 0.8), (0, [50, 0, 70, 20], 0.9)])
    inputs = [{"image_id": file} for file in files]
    results = run(DetectionEvaluator(dataset(records)), inputs, [found, output([])])
    for metric in ("AP50_11pt", "AP50_area", "AP_coco"):
        assert results[metric] == pytest.approx(100.0)


def test_class_names_are_compared_in_any_spelling(dataset):
    name = dataset(classes=["Bicycle", "BIRD", "car"])
    evaluator = DetectionEvaluator(name, ["bird"], model_class_names=["bicycle", "bird", "car"])
    assert run(evaluator, RECORDS, [perfect(r) for r in RECORDS])["AP50_area/bird"] == 100.0


def test_an_image_listed_twice_counts_once(dataset, caplog):
    records = [RECORDS[0], RECORDS[0], *RECORDS[1:]]
    results = run(DetectionEvaluator(dataset(records)), records, [perfect(r) for r in records])
    assert results["AP50_area"] == pytest.approx(100.0)
    assert "im0.jpg of data set 'evaluated_0' is listed more than once" in caplog.text


def test_predictions_that_do_not_belong_are_refused(dataset):
    evaluator = DetectionEvaluator(dataset())
    with pytest.raises(UserError, match="'other' is not in data set"):
        evaluator.process([{"image_id": "other"}], [output([])])
    with pytest.raises(UserError, match="class number 3, but only 3"):
        evaluator.process([RECORDS[0]], [output([(3, [0, 0, 5, 5], 0.5)])])
