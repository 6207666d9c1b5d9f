"""A checkpoint is chosen without target labels, and training does not notice."""

from __future__ import annotations

import json
import os
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from metaalign_det.data import register_all
from metaalign_det.data.catalog import domains
from metaalign_det.engine.selection import SelectionHook
from metaalign_det.engine.trainer import AdaptationTrainer
from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free import VALIDATORS
from metaalign_det.evaluation.label_free.outcome import read_outcome
from metaalign_det.explain.predict import Predictor
from tests.data.trees import make_tiny_voc
from tests.engine.test_selection_committee import ENS_KL
from tests.engine.tiny_training import Interruption, everything, train
from tests.explain.checkpoints import classifier_cfg
from tests.tiny import tiny_cfg

CLASSES = ("cat", "dog", "bird")


class Images:
    """A registered function whose labels may be forbidden to read."""

    def __init__(self, folder, count, seed):
        rng = np.random.default_rng(seed)
        self.dicts = []
        for n in range(count):
            file = folder / f"{seed}_{n}.png"
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file)
            item = {"file_name": str(file), "image_id": n, "height": 16, "width": 16}
            self.dicts.append({**item, "label": n % 3})

    def __call__(self):
        return [dict(d) for d in self.dicts]


@pytest.fixture
def datasets(tmp_path, catalog):
    for seed, name in enumerate(("own_source", "own_target", "own_test")):
        catalog.register(name, Images(tmp_path, 9, seed))
        MetadataCatalog.get(name).set(thing_classes=CLASSES, evaluator_type="classification")


def classification_cfg(output, *opts):
    cfg = classifier_cfg()
    cfg.merge_from_list([
        "MODEL.ALIGN.METHOD", "dann", "MODEL.ALIGN.HIDDEN", 4,
        "DATASETS.TRAIN", ("own_source",), "DATASETS.TARGET", ("own_target",),
        "DATASETS.TEST", ("own_test",),
        "INPUT.CLASSIFICATION.RESIZE", 0, "INPUT.CLASSIFICATION.CROP", 0,
        "SOLVER.IMS_PER_BATCH", 4, "SOLVER.MAX_ITER", 8, "SOLVER.BASE_LR", 0.05,
        "SOLVER.WARMUP_ITERS", 0, "SOLVER.STEPS", (6,), "SOLVER.CHECKPOINT_PERIOD", 3,
        "TEST.EVAL_PERIOD", 2, "TEST.BATCH_SIZE", 4, "DATALOADER.NUM_WORKERS", 0,
        "SELECTION.ENABLED", True, "SELECTION.ALSO", ("entropy", "mixval", "dev"),
        "SELECTION.ORACLE", "own_test", "OUTPUT_DIR", str(output), *opts,
    ])  # fmt: skip
    (output).mkdir(parents=True, exist_ok=True)
    return cfg


@pytest.fixture
def ens_kl(monkeypatch):
    """A validator of the user's own that compares candidates."""
    monkeypatch.setitem(VALIDATORS, "ens_kl", ENS_KL)


def start(cfg, **kwargs):
    torch.manual_seed(1)
    return train(cfg, **kwargs)


@pytest.mark.usefixtures("datasets")
def test_last_selected_and_oracle_are_kept_apart(tmp_path):
    start(classification_cfg(tmp_path / "run", "DATASETS.TEST", ("own_test", "own_source")))
    outcome = read_outcome(tmp_path / "run")
    assert (outcome.validator, outcome.higher_is_better) == ("ensv", True)
    assert [c.iteration for c in outcome.candidates] == [1, 3, 5, 8]
    for candidate in outcome.candidates:
        assert set(candidate.scores) == {"ensv", "entropy", "mixval", "dev"}
        assert set(candidate.metrics) == {"own_test", "own_source"}
    assert outcome.last.checkpoint == "model_final.pth" and outcome.last.candidate.iteration == 8
    accuracy = {
        c.iteration: c.metrics["own_test"]["classification/accuracy"] for c in outcome.candidates
    }
    assert outcome.oracle_by == "own_test/classification/accuracy"
    assert accuracy[outcome.oracle.candidate.iteration] == max(accuracy.values())
    for chosen in (outcome.selected, outcome.oracle):
        saved = torch.load(tmp_path / "run" / chosen.checkpoint)
        assert saved["iteration"] == chosen.candidate.iteration
        assert "trainer" not in saved, "kept to be used, not to be resumed from"
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"
    logged = (tmp_path / "run" / "metrics.json").read_text()
    assert {"selection/ensv", "selection/oracle"} <= set(json.loads(logged.splitlines()[-1]))


@pytest.mark.usefixtures("datasets")
def test_the_best_score_is_what_is_selected_and_can_be_used_at_once(tmp_path):
    cfg = classification_cfg(tmp_path / "run", "SELECTION.VALIDATOR", "entropy")
    start(cfg)
    (tmp_path / "run" / "config.yaml").write_text(cfg.dump())
    outcome = read_outcome(tmp_path / "run")
    best = min(outcome.candidates, key=lambda c: c.scores["entropy"])
    assert outcome.selected.candidate == best
    predictor = Predictor.from_checkpoint(tmp_path / "run" / "model_selected.pth")
    p = torch.stack([predictor(d["file_name"]).scores for d in DatasetCatalog.get("own_target")])
    entropy = float(torch.special.entr(p.double()).sum(dim=1).mean())
    assert entropy == pytest.approx(best.scores["entropy"], rel=1e-5)


@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize("asked", [True, False])
def test_a_training_that_is_stopped_in_its_last_step_has_not_come_to_its_end(tmp_path, asked):
    """Asked by a signal, it saves behind the step; else the step, and what it has done, are lost.

    No final evaluation keeps whoever asked waiting, and selection.json names no model_final.pth
    that may never be written. A resumed run makes that evaluation.
    """
    whole = start(classification_cfg(tmp_path / "whole"))
    folder = tmp_path / "run"
    cfg = classification_cfg(folder)
    torch.manual_seed(1)
    trainer = AdaptationTrainer(cfg)
    step = trainer.run_step

    def stopped():
        if trainer.iter == 7 and not asked:
            raise KeyboardInterrupt
        if trainer.iter == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        step()

    trainer.run_step = stopped
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    outcome = read_outcome(folder)
    assert [c.iteration for c in outcome.candidates] == [1, 3, 5]
    assert outcome.last.checkpoint == ""
    assert (folder / "model_0000007.pth").exists() == (folder / "model_final.pth").exists() == asked
    records = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert max(r["iteration"] for r in records if "classification/accuracy" in r) == 5

    resumed = start(cfg, resume=True)
    assert read_outcome(folder) == read_outcome(tmp_path / "whole")
    assert (folder / "model_final.pth").is_file()
    for (name, a), b in zip(whole.model.state_dict().items(), resumed.model.state_dict().values()):
        assert torch.equal(a, b), name


@pytest.mark.usefixtures("datasets")
def test_training_is_the_same_with_and_without(tmp_path):
    opts = ("MODEL.DIGITS_NET.NORM", "BN")
    one = start(classification_cfg(tmp_path / "a", *opts))
    after_one = torch.rand(3)
    two = start(classification_cfg(tmp_path / "b", "SELECTION.ENABLED", False, *opts))
    after_two = torch.rand(3)
    for (name, a), b in zip(one.model.state_dict().items(), two.model.state_dict().values()):
        assert torch.equal(a, b), name
    assert torch.equal(after_one, after_two)
    assert not (tmp_path / "b" / "selection.json").exists()


@pytest.mark.usefixtures("datasets", "ens_kl")
def test_every_validator_that_compares_candidates_scores_all_of_them_anew(tmp_path):
    cfg = classification_cfg(
        tmp_path / "run", "SELECTION.VALIDATOR", "ens_kl", "SELECTION.ALSO", ("ensv",)
    )
    kept = []
    trainer = AdaptationTrainer(cfg)
    (hook,) = (h for h in trainer._hooks if isinstance(h, SelectionHook))
    judge = hook._judge
    hook._judge = lambda moment: (judge(moment), kept.append(hook._kept("model_selected")))
    trainer.train()
    outcome = read_outcome(tmp_path / "run")
    assert all(set(c.scores) == {"ens_kl", "ensv"} for c in outcome.candidates)
    assert kept[0].candidate.scores["ens_kl"] == pytest.approx(0.0), "it was its own ensemble"
    now = {c.iteration: c.scores["ens_kl"] for c in outcome.candidates}
    assert min(now.values()) > 1e-9, "nobody is, of several"
    earlier, chosen = (k.candidate.iteration for k in kept[-2:])
    assert now[chosen] == min(now[earlier], now[8])


@pytest.mark.usefixtures("datasets", "ens_kl")
@pytest.mark.parametrize("validator, period", [("", 3), ("", 2), ("entropy", 3), ("ens_kl", 3)])
def test_a_resumed_run_selects_as_an_uninterrupted_one(tmp_path, validator, period):
    opts = ("SELECTION.VALIDATOR", validator, "SOLVER.CHECKPOINT_PERIOD", period)
    cfg = classification_cfg(tmp_path / "a", *opts)
    with pytest.raises(Interruption):
        start(cfg, stop_at=4)  # checkpoints are of iteration 2, or 1 and 3; evaluations 1 and 3
    resumed = everything(train(cfg, resume=True))
    whole = everything(start(classification_cfg(tmp_path / "b", *opts)))
    assert any("SelectionHook/committee" in key for key in whole)
    for key, value in whole.items():
        same = torch.equal(value, resumed[key]) if torch.is_tensor(value) else value == resumed[key]
        assert same, key
    for name in ("selection.json", "last_checkpoint"):
        assert (tmp_path / "a" / name).read_text() == (tmp_path / "b" / name).read_text()
    for name in ("model_selected.pth", "model_oracle.pth"):
        a, b = (torch.load(tmp_path / run / name) for run in "ab")
        assert a["iteration"] == b["iteration"]
        assert all(torch.equal(v, b["model"][k]) for k, v in a["model"].items())


@pytest.mark.usefixtures("datasets")
def test_a_kept_file_from_behind_the_checkpoint_is_forgotten(tmp_path):
    cfg = classification_cfg(tmp_path / "a")
    with pytest.raises(Interruption):
        start(cfg, stop_at=4)
    (tmp_path / "a" / "model_selected.pth").unlink()
    train(cfg, resume=True)
    chosen = read_outcome(tmp_path / "a").selected
    assert torch.load(tmp_path / "a" / chosen.checkpoint)["iteration"] == chosen.candidate.iteration


@pytest.mark.usefixtures("datasets")
def test_a_teachers_scores_stand_beside_the_students_and_both_are_kept(tmp_path):
    start(classification_cfg(tmp_path / "run", "EMA.ENABLED", True, "EMA.DECAY", 0.5))
    outcome = read_outcome(tmp_path / "run")
    scores = outcome.last.candidate.metrics["own_test"]
    assert {"classification/accuracy", "teacher/classification/accuracy"} <= set(scores)
    assert "teacher" in torch.load(tmp_path / "run" / outcome.selected.checkpoint)


@pytest.mark.usefixtures("datasets")
def test_no_target_label_reaches_a_validator(tmp_path, monkeypatch):
    read = []
    labelled = domains.load_labelled
    for module in ("metaalign_det.engine.selection_inputs", "metaalign_det.data.loader.build"):
        monkeypatch.setattr(
            f"{module}.load_labelled",
            lambda name, *args, **kwargs: read.append(name) or labelled(name, *args, **kwargs),
        )
    hook = AdaptationTrainer(classification_cfg(tmp_path / "run"))._hooks
    data = next(h.data for h in hook if hasattr(h, "data"))
    assert "own_target" not in read and "own_source" in read
    assert all("label" not in x for batch in data.target for x in batch)
    assert all("label" in x for batch in data.source for x in batch)


@pytest.mark.usefixtures("datasets")
def test_without_evaluations_the_end_is_judged(tmp_path):
    start(classification_cfg(tmp_path / "run", "TEST.EVAL_PERIOD", 0))
    outcome = read_outcome(tmp_path / "run")
    assert [c.iteration for c in outcome.candidates] == [8]
    assert outcome.selected.candidate == outcome.last.candidate
    with np.load(tmp_path / "run" / "selection_predictions.npz") as saved:
        assert saved["last"].shape == (9, 3) and (saved["last"] == saved["selected"]).all()


@pytest.mark.usefixtures("datasets")
def test_images_are_spread_evenly_over_the_target(tmp_path):
    cfg = classification_cfg(tmp_path / "run", "SELECTION.IMAGES", 3)
    hooks = AdaptationTrainer(cfg)._hooks
    data = next(h.data for h in hooks if hasattr(h, "data"))
    assert [x["image_id"] for batch in data.target for x in batch] == [0, 4, 8]


@pytest.mark.usefixtures("datasets")
@pytest.mark.parametrize(
    "opts, message",
    [
        (("SELECTION.VALIDATOR", "ensf"), "did you mean 'ensv'"),
        (("SELECTION.ALSO", ("fis",)), "'fis' is for detection, the model does classification"),
        (("SELECTION.ORACLE", "elsewhere"), "SELECTION.ORACLE: 'elsewhere' is none of DATASETS"),
        (("SELECTION.IMAGES", -1), "SELECTION.IMAGES must be >= 0"),
        (("SELECTION.VALIDATOR", "energy"), "a plug-in's, METAALIGN_PLUGINS has to name"),
        (("TEST.BATCH_SIZE", 1), "'mixval' mixes two images .* TEST.BATCH_SIZE is 1: set it to 2"),
        (("SELECTION.IMAGES", 1), "'mixval' mixes two images .* SELECTION.IMAGES is 1"),
        (
            ("DATASETS.TARGET", (), "MODEL.ALIGN.METHOD", "none"),
            "SELECTION.ENABLED needs target images",
        ),
    ],
)
def test_what_cannot_be_selected_by_is_named_at_the_start(tmp_path, opts, message):
    with pytest.raises(UserError, match=message):
        AdaptationTrainer(classification_cfg(tmp_path / "run", *opts))


class Headless(torch.nn.Module):
    """A classifier whose last layer is not called ``classifier``."""

    num_classes = 3

    def forward(self, batch):
        return [{"scores": torch.full((3,), 1 / 3)} for _ in batch]


@pytest.mark.usefixtures("datasets")
def test_what_a_model_does_not_give_is_named_at_the_start_and_only_if_it_is_read(tmp_path):
    checkpointer = SimpleNamespace(model=Headless(), checkpointables={})
    opts = ("SELECTION.VALIDATOR", "infomax", "SELECTION.ALSO")
    hook = SelectionHook(classification_cfg(tmp_path, *opts, ("mixval", "ensv")), checkpointer)
    assert hook.data.collect(Headless()).target.probabilities.shape == (9, 3)
    with pytest.raises(UserError, match="layer 'classifier', and the model Headless has none"):
        SelectionHook(classification_cfg(tmp_path, *opts, ("dev",)), checkpointer)


def test_a_detector_is_selected_by_fis(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path / "data", images=3)))
    cfg = tiny_cfg(
        "DATASETS.TRAIN", ("voc6_2007_trainval",), "DATASETS.TARGET", ("watercolor_train",),
        "DATASETS.TEST", ("watercolor_test",), "MODEL.ROI_HEADS.NUM_CLASSES", 6,
        "INPUT.MIN_SIZE_TRAIN", (64,), "INPUT.MIN_SIZE_TEST", 64,
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "SOLVER.STEPS", (),
        "DATALOADER.NUM_WORKERS", 0, "TEST.EVAL_PERIOD", 1,
        "SELECTION.ENABLED", True, "SELECTION.ALSO", ("pdr", "det_entropy", "det_confidence"),
        "SELECTION.ORACLE", "watercolor_test", "OUTPUT_DIR", str(tmp_path / "run"),
    )  # fmt: skip
    (tmp_path / "run").mkdir()
    register_all(cfg)
    start(cfg)
    outcome = read_outcome(tmp_path / "run")
    assert outcome.validator == "fis" and not outcome.higher_is_better
    assert [c.iteration for c in outcome.candidates] == [0, 2]
    assert outcome.oracle_by == "watercolor_test/voc/AP50_11pt"
    assert set(outcome.last.candidate.scores) == {"fis", "pdr", "det_entropy", "det_confidence"}


def test_a_damaged_outcome_is_named(tmp_path):
    assert read_outcome(tmp_path) is None
    (tmp_path / "selection.json").write_text("{}")
    with pytest.raises(UserError, match="selection.json is damaged"):
        read_outcome(tmp_path)


@pytest.mark.usefixtures("datasets")
def test_training_that_goes_on_without_bad_images_selects_without_them(tmp_path):
    (file,) = tmp_path.glob("1_4.png")  # of the target; its header and its end are fine
    content = bytearray(file.read_bytes())
    content[60:80] = bytes(20)
    file.write_bytes(bytes(content))
    start(classification_cfg(tmp_path / "run", "DATALOADER.ON_BAD_IMAGE", "skip"))
    outcome = read_outcome(tmp_path / "run")
    assert len(outcome.candidates) == 4 and outcome.selected is not None
    (entry,) = json.loads((tmp_path / "run" / "bad_images.json").read_text())
    assert entry["file"] == str(file) and entry["replaced"] >= 4
    with pytest.raises(UserError, match="1_4.png"):
        start(classification_cfg(tmp_path / "strict"))
