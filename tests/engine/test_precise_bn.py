"""BatchNorm's precise statistics do not depend on an interruption."""

from __future__ import annotations

import pytest
import torch
from detectron2.engine import hooks

from tests.engine.tiny_training import Interruption, everything, train, training_cfg

pytestmark = pytest.mark.usefixtures("tiny_datasets")


def cfg_of(folder, seed=3):
    alone = [x for n in ("LOCAL", "GLOBAL", "INSTANCE") for x in (f"MODEL.DA.{n}.ENABLED", False)]
    return training_cfg(
        folder,
        *("MODEL.RESNETS.NORM", "BN", "MODEL.DA.CONTEXT", False, *alone),
        *("METAALIGN.ENABLED", False, "SOLVER.MAX_ITER", 5, "SEED", seed),
        *("TEST.EVAL_PERIOD", 2, "TEST.PRECISE_BN.ENABLED", True, "TEST.PRECISE_BN.NUM_ITER", 2),
    )


@pytest.fixture
def batches(monkeypatch):
    """The images of every update, in order."""
    seen = []
    update = hooks.update_bn_stats

    def watched(model, loader, count):
        def passed_on():
            for batch in loader:
                seen.append([x["file_name"] for x in batch["source"]])
                yield batch

        update(model, passed_on(), count)

    monkeypatch.setattr(hooks, "update_bn_stats", watched)
    return seen


def start(cfg, **kwargs):
    torch.manual_seed(1)
    return train(cfg, **kwargs)


def test_a_resumed_run_takes_the_batches_of_an_uninterrupted_one(tmp_path, batches):
    whole = start(cfg_of(tmp_path / "whole"))
    assert len(batches) == 6  # two for each of the updates after 2, 4 and 5 steps
    expected = list(batches)
    batches.clear()
    with pytest.raises(Interruption):
        start(cfg_of(tmp_path / "run"), stop_at=3)
    resumed = start(cfg_of(tmp_path / "run"), resume=True)
    assert batches == expected
    ended = everything(resumed)
    for key, value in everything(whole).items():
        same = torch.equal(value, ended[key]) if torch.is_tensor(value) else value == ended[key]
        assert same, key


def test_a_seed_that_is_drawn_anew_is_that_of_the_run(tmp_path, batches):
    with pytest.raises(Interruption):
        start(cfg_of(tmp_path, seed=-1), stop_at=4)
    first = list(batches)
    batches.clear()
    (tmp_path / "model_0000002.pth").unlink()
    (tmp_path / "model_0000003.pth").unlink()
    with pytest.raises(Interruption):  # from iteration 1 on
        start(cfg_of(tmp_path, seed=-1), resume=True, stop_at=4)
    assert batches == first[2:]
