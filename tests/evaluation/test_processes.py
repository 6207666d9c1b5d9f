"""Two processes, each with its shard, score and re-estimate as one would.

One launch for everything: starting Python twice is what takes the time.
"""

from __future__ import annotations

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.engine import launch
from detectron2.structures import Boxes, BoxMode, Instances
from detectron2.utils import comm
from torch import nn

from metaalign_det.engine.processes import end_process
from metaalign_det.evaluation import (
    ClassificationEvaluator,
    DetectionEvaluator,
    adapt_batchnorm,
)

RECORDS = [
    {
        "image_id": f"im{i}",
        "label": i % 2,
        "annotations": [
            {
                "category_id": i % 2,
                "bbox": [0, 0, 10 + i, 20],
                "bbox_mode": BoxMode.XYXY_ABS,
            }
        ],
    }
    for i in range(5)
]


def _detect(record):
    found = Instances((60, 60))
    found.pred_boxes = Boxes(torch.tensor([a["bbox"] for a in record["annotations"]]).float())
    found.pred_classes = torch.tensor([a["category_id"] for a in record["annotations"]])
    found.scores = torch.ones(len(found))
    return {"instances": found}


def _classify(record):
    return {"scores": torch.eye(2)[0]}  # always the first class


def _batches():
    return list(torch.randn(4, 3, 2, 6, 5, generator=torch.Generator().manual_seed(1)))


def _work(folder):
    torch.set_num_threads(1)
    DatasetCatalog.register("sharded", lambda: RECORDS)
    MetadataCatalog.get("sharded").thing_classes = ["a", "b"]
    rank = comm.get_rank()
    results = {}
    for evaluator, model in (
        (DetectionEvaluator("sharded", dicts=RECORDS), _detect),
        (ClassificationEvaluator("sharded"), _classify),
    ):
        # The second process repeats an image of the first, as padded samplers do.
        shard = RECORDS[:3] if rank == 0 else RECORDS[2:]
        evaluator.process(shard, [model(r) for r in shard])
        results |= evaluator.evaluate()
    # Three batches here, one there.
    layer = nn.BatchNorm2d(2)
    adapt_batchnorm(layer, _batches()[:3] if rank == 0 else _batches()[3:], 9, layer)
    results["mean"], results["var"] = layer.running_mean.tolist(), layer.running_var.tolist()
    (folder / f"{rank}.json").write_text(json.dumps(results))
    comm.synchronize()
    end_process()


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    launch(_work, 2, dist_url="auto", args=(folder,))
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_detections_are_joined_and_only_the_first_process_reports(results):
    assert results[0]["voc"]["AP50_area"] == pytest.approx(100.0)
    assert "voc" not in results[1]


def test_predicted_classes_are_joined_and_a_repeated_image_counts_once(results):
    assert results[0]["classification"]["accuracy"] == pytest.approx(60.0)  # labels 0 1 0 1 0
    assert "classification" not in results[1]


def test_batch_statistics_are_those_of_all_batches_in_every_process(results):
    pixels = torch.cat(_batches()).transpose(0, 1).flatten(1)
    for result in results:
        torch.testing.assert_close(torch.tensor(result["mean"]), pixels.mean(dim=1))
        torch.testing.assert_close(torch.tensor(result["var"]), pixels.var(dim=1, correction=0))
