from __future__ import annotations

import pytest
import torch

from metaalign_det.errors import UserError
from metaalign_det.explain.predict_checkpoint import find_checkpoint
from metaalign_det.explain.runs import open_runs
from tests.explain.conftest import detector_cfg, write_run


def test_a_folder_stands_for_the_runs_in_it_named_by_what_differs(run_folders):
    runs = open_runs([str(run_folders)])
    assert [r.label for r in runs] == ["source", "swda", "swda_meta"]
    assert all((r.folder / "config.yaml").is_file() for r in runs)


def test_a_label_can_be_given(run_folders):
    folder = open_runs([str(run_folders)])[1].folder
    assert [r.label for r in open_runs([f"SW-DA={folder}"])] == ["SW-DA"]
    assert [r.label for r in open_runs([str(folder)])] == ["seed0"]
    assert [r.label for r in open_runs([str(folder.parents[1])])] == ["swda"]


def test_seeds_and_methods_together_name_a_run(tmp_path):
    for method in "ab":
        for seed in "01":
            write_run(tmp_path / method / "task" / f"seed{seed}", detector_cfg(discriminators=()))
    labels = [r.label for r in open_runs([str(tmp_path)])]
    assert labels == ["a/task/seed0", "a/task/seed1", "b/task/seed0", "b/task/seed1"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "no folder nowhere"),
        (["{tmp}"], "no run directory"),
        (["A={runs}"], "holds 3 runs"),
        (["={tmp}"], "not LABEL=FOLDER"),
        (["A={run}", "A={run}"], "called the same: A"),
    ],
)
def test_mistakes_are_said_in_a_sentence(given, message, tmp_path, run_folders):
    run = open_runs([str(run_folders)])[0].folder
    texts = [g.format(tmp=tmp_path, runs=run_folders, run=run) for g in given]
    with pytest.raises(UserError, match=message):
        open_runs(texts)


def test_checkpoints_are_in_the_order_of_training(run_folders):
    run = open_runs([str(run_folders)])[1]
    assert [(i, p.name) for i, p in run.checkpoints()] == [
        (5, "model_0000004.pth"),
        (100, "model_final.pth"),
    ]
    assert run.checkpoint().name == "model_final.pth"
    with pytest.raises(UserError, match=r"model_9\.pth; there: model_0000004\.pth"):
        run.checkpoint("model_9.pth")


def test_a_run_that_was_extended_and_interrupted_stands_for_its_newest_checkpoint(tmp_path):
    names = ("model_final.pth", "model_0000149.pth")
    folder = write_run(tmp_path / "run", detector_cfg("SOLVER.MAX_ITER", 200), names=names)
    content = torch.load(folder / "model_final.pth")
    torch.save({**content, "iteration": 99}, folder / "model_final.pth")
    (run,) = open_runs([str(folder)])
    assert run.checkpoint().name == find_checkpoint(folder).name == "model_0000149.pth"
    assert [(i, p.name) for i, p in run.checkpoints()] == [
        (100, "model_final.pth"),
        (150, "model_0000149.pth"),
    ]
    (folder / "last_checkpoint").unlink()
    assert find_checkpoint(folder).name == "model_final.pth"


def test_a_model_is_that_of_its_checkpoint_and_frozen(run_folders):
    run = open_runs([str(run_folders)])[1]
    model = run.model(run.folder / "model_0000004.pth")
    saved = torch.load(run.folder / "model_0000004.pth")["model"]
    assert all(torch.equal(v, saved[k]) for k, v in model.state_dict().items() if k in saved)
    assert not model.training
    assert not any(p.requires_grad for p in model.parameters())
    trainable = run.model(trainable=True)
    assert trainable.training
    assert any(p.requires_grad for p in trainable.parameters())


def test_a_run_of_a_device_that_is_not_here_is_looked_into_on_the_cpu(tmp_path):
    file = write_run(tmp_path / "run", detector_cfg(discriminators=())) / "config.yaml"
    text = file.read_text()
    # As little use here as another machine's mps or cuda:7.
    file.write_text(text.replace("DEVICE: cpu", "DEVICE: meta"))
    assert file.read_text() != text
    (run,) = open_runs([str(tmp_path / "run")])
    assert run.cfg.MODEL.DEVICE == "cpu"
