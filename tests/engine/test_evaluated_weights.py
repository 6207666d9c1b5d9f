"""--eval-only scores whole models alone, for the classes that they were trained with."""

from __future__ import annotations

import logging

import pytest
import torch
from detectron2.modeling import build_model

from metaalign_det.engine.durable_checkpointer import DurableCheckpointer
from metaalign_det.engine.evaluated_weights import check_classes, load_to_evaluate
from metaalign_det.errors import UserError
from tests.engine.tiny_training import train, training_cfg

pytestmark = pytest.mark.usefixtures("tiny_datasets")

CLASSES = ["bicycle", "bird", "car", "cat", "dog", "person"]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, datasets):
    """The folder of a training of one step."""
    out = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DETECTRON2_DATASETS", str(datasets))
        train(training_cfg(out, "SOLVER.MAX_ITER", 1))
    return out


def loaded(folder, *opts, resume=False):
    """The model that would be scored."""
    cfg = training_cfg(folder, "MODEL.WEIGHTS", str(folder / "model_final.pth"), *opts)
    model = build_model(cfg)
    load_to_evaluate(DurableCheckpointer(model, save_dir=str(folder)), cfg, resume=resume)
    return model


@pytest.mark.parametrize("resume", [False, True])
def test_weights_of_another_order_of_classes_are_not_scored(run_folder, resume):
    loaded(run_folder, "DATASETS.CLASSES", CLASSES, resume=resume)
    with pytest.raises(UserError, match="was trained with the classes bicycle, bird.*") as error:
        loaded(run_folder, "DATASETS.CLASSES", CLASSES[::-1], resume=resume)
    assert f"Set DATASETS.CLASSES to {CLASSES}" in str(error.value)


@pytest.mark.parametrize(
    "opts",
    [
        ("MODEL.ROI_HEADS.NUM_CLASSES", 3),
        ("MODEL.ROI_BOX_HEAD.FC_DIM", 12),
        (
            "MODEL.META_ARCHITECTURE",
            "DomainAdaptiveClassifier",
            "MODEL.CLASSIFIER.IN_FEATURE",
            "res4",
        ),
    ],
    ids=["classes", "head", "kind"],
)
def test_weights_that_leave_a_part_of_the_model_unset_are_not_scored(run_folder, opts):
    message = r"model_final.pth holds no finite value of \d+ of \d+ weights.*, for one "
    with pytest.raises(UserError, match=message):
        loaded(run_folder, *opts)


def test_discriminators_whose_context_is_seen_are_needed(run_folder, tmp_path):
    saved = torch.load(run_folder / "model_final.pth", weights_only=True)["model"]
    weights = {k: v for k, v in saved.items() if not k.startswith("discriminators")}
    torch.save({"model": weights}, tmp_path / "bare.pth")
    with pytest.raises(UserError, match="for one discriminators.local"):
        loaded(run_folder, "MODEL.WEIGHTS", str(tmp_path / "bare.pth"))


def test_discriminators_are_not_needed_to_score_a_model_without_context(run_folder, tmp_path):
    off = ("MODEL.DA.CONTEXT", False)
    train(training_cfg(tmp_path, "SOLVER.MAX_ITER", 1, *off))
    model = loaded(tmp_path, "MODEL.DA.INSTANCE.ENABLED", True, *off)
    assert all(p.isfinite().all() for p in model.parameters())
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)["model"]
    own = model.state_dict()
    assert all(torch.equal(v, own[k]) for k, v in saved.items() if k.startswith("backbone"))


def test_other_names_in_the_same_places_are_told_and_scored(caplog):
    with caplog.at_level(logging.WARNING):
        check_classes(["Aero plane", "bike"], ["aeroplane", "bicycle"], "w.pth")
    assert [r.getMessage() for r in caplog.records] == [
        "w.pth calls 'bike' what this config calls 'bicycle'"
    ]
    check_classes([], ["a"], "w.pth")
