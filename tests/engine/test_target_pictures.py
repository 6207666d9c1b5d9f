"""Pictures of target images: when, which, and that training does not notice."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventWriter, get_event_storage

from metaalign_det.engine.target_pictures import draw_output
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError

from .test_training import train, training_cfg

pytestmark = pytest.mark.usefixtures("tiny_datasets")


def test_they_come_with_every_evaluation_and_change_nothing(tmp_path, monkeypatch):
    seen = []

    class Keep(EventWriter):
        def write(self):
            storage = get_event_storage()
            seen.extend((n, p.shape[0], i) for n, p, i in storage._vis_data)
            storage.clear_images()

    class Trainer(AdaptationTrainer):
        def build_writers(self):
            return [Keep()]

    opts = (
        "SOLVER.MAX_ITER",
        4,
        "SOLVER.STEPS",
        (3,),
        "TEST.EVAL_PERIOD",
        2,
        "SOLVER.CHECKPOINT_PERIOD",
        100,
    )
    plain = train(training_cfg(tmp_path / "plain", *opts))
    (tmp_path / "drawn").mkdir()  # as a writer would
    torch.manual_seed(0)  # of the initial weights, as before the first training
    monkeypatch.setattr("tests.engine.tiny_training.AdaptationTrainer", Trainer)
    drawn = train(training_cfg(tmp_path / "drawn", *opts, "VIS.TARGET_IMAGES", 2))
    assert seen == [("target/0", 3, 1), ("target/1", 3, 1), ("target/0", 3, 4), ("target/1", 3, 4)]
    theirs = drawn.model.state_dict()
    assert all(torch.equal(v, theirs[k]) for k, v in plain.model.state_dict().items())


def test_without_a_target_there_is_nothing_to_show(tmp_path):
    opts = ("DATASETS.TARGET", (), "METAALIGN.ENABLED", False, "MODEL.DA.LOCAL.ENABLED", False,
            "MODEL.DA.GLOBAL.ENABLED", False, "MODEL.DA.CONTEXT", False)  # fmt: skip
    with pytest.raises(UserError, match="DATASETS.TARGET is empty"):
        AdaptationTrainer(training_cfg(tmp_path, *opts, "VIS.TARGET_IMAGES", 2))
    with pytest.raises(UserError, match="VIS.TARGET_IMAGES must be >= 0"):
        AdaptationTrainer(training_cfg(tmp_path, "VIS.TARGET_IMAGES", -1))


def test_only_confident_detections_are_drawn():
    image = np.full((60, 80, 3), 255, np.uint8)

    def drawn(score):
        found = Instances((60, 80))
        found.pred_boxes = Boxes(torch.tensor([[10.0, 10.0, 50.0, 40.0]]))
        found.scores, found.pred_classes = torch.tensor([score]), torch.tensor([0])
        return draw_output(image, {"instances": found}, ["cat"])

    assert drawn(0.9).shape == (360, 480, 3)
    assert (drawn(0.9) < 200).any()
    assert (drawn(0.3) == 255).all()


def test_a_classifier_says_its_class_on_the_picture():
    image = np.full((32, 32, 3), 255, np.uint8)
    picture = draw_output(image, {"scores": torch.tensor([0.2, 0.8])}, ["cat", "dog"])
    assert picture.shape == (480, 480, 3)
    assert (picture[:60] < 128).any()
    assert (picture[100:] == 255).all()
