"""``--overwrite`` removes what a training wrote, and nothing else, once the new one can start."""

from __future__ import annotations

import logging

import pytest

from metaalign_det.engine import run_folder
from metaalign_det.engine.replaced_run import remove_run, run_bytes
from metaalign_det.engine.run_folder import check_unused
from metaalign_det.errors import UserError
from tests.engine.small import save, small_run, start


def write(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def left(folder):
    found = (f for f in folder.rglob("*") if f.is_symlink() or not f.is_dir())
    return sorted(str(f.relative_to(folder)) for f in found)


WRITTEN = (
    "last_checkpoint", "model_0000009.pth", "model_best.pth", "model_final.pth",
    "model_final.safetensors", "model_oracle.pth", "model_selected.pth", "selection.json",
    "selection_predictions.npz", "events.out.tfevents.1.host.2.0", "wandb_run_id.txt",
    "mlflow_run_id.txt", "inference/a/voc_a.json", "teacher/inference/a/voc_a.json",
    "inference/a/detections_a.json", "inference/b/c/confusion_b_c.png",
)  # fmt: skip
USERS = (
    "notes.txt", "pretrained.pth", "model_mine.pth", "model_0000009.safetensors",
    "selection_notes.md", "wandb/run/a", "teacher/notes.txt", "eval-1/inference/a.json",
    "inference/my_notes.txt", "inference/a/hand/corrected.json", "inference/a/voc.json",
)  # fmt: skip


def test_removing_a_run_leaves_what_is_not_its(tmp_path):
    write(tmp_path, *WRITTEN, *USERS)
    (tmp_path / "metrics.json").write_text("{}\n")
    assert run_bytes(tmp_path) >= len(WRITTEN)
    remove_run(tmp_path)
    assert left(tmp_path) == sorted(["metrics.json", *USERS])
    assert (tmp_path / "metrics.json").read_bytes() == b""
    assert not (tmp_path / "inference" / "b").exists()
    remove_run(tmp_path / "missing")


def test_the_folder_of_the_averages_scores_goes_when_it_is_empty(tmp_path):
    write(tmp_path, "teacher/inference/a/voc_a.json", "inference/a/voc_a.json")
    remove_run(tmp_path)
    assert not (tmp_path / "teacher").exists()
    assert not (tmp_path / "inference").exists()


@pytest.mark.parametrize("file", ["config.yaml", "model_final.pth"])
def test_a_run_of_its_own_inside_is_not_removed(tmp_path, file):
    others = [f"{name}/{file}" for name in ("teacher", "inference")]
    others += [f"{name}/inference/a.json" for name in ("teacher", "inference")]
    write(tmp_path, "model_final.pth", *others)
    remove_run(tmp_path)
    assert left(tmp_path) == sorted(others)


def test_folders_and_links_do_not_stop_it_half_way(tmp_path):
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "run"
    write(elsewhere, "inference/a.json", "model.pth")
    write(folder, "selection/a", "selection.json/a", "model_0000001.pth/a", "model_0000002.pth")
    (folder / "teacher").symlink_to(elsewhere)
    (folder / "inference").symlink_to(elsewhere / "inference")
    (folder / "model_final.pth").symlink_to(elsewhere / "model.pth")
    remove_run(folder)
    assert left(elsewhere) == ["inference/a.json", "model.pth"]
    files = ["model_0000001.pth/a", "selection.json/a", "selection/a"]
    assert left(folder) == sorted([*files, "inference", "teacher"])


def test_a_removed_run_leaves_its_folder_unused(tmp_path):
    save(small_run(tmp_path, steps=1))
    write(tmp_path, "inference/a/voc_a.json", "metrics.json")
    remove_run(tmp_path)
    check_unused(tmp_path)


def test_a_checkpoint_that_would_stay_and_could_be_resumed_is_named(tmp_path):
    run = small_run(tmp_path, steps=3)
    save(run)
    (written,) = tmp_path.glob("model_*.pth")
    written.rename(tmp_path / "model_backup.pth")
    with pytest.raises(UserError, match="does not remove model_backup.pth"):
        start(run, overwrite=True)


def test_without_space_for_the_new_run_the_old_one_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(run_folder, "free_bytes", lambda _: 0)
    save(small_run(tmp_path, width=10, steps=1))
    write(tmp_path, "metrics.json", "config.yaml", ".model_0000001.pth.1.partial")
    before = left(tmp_path)
    with pytest.raises(UserError, match=r"MB are or would be free, but a checkpoint takes about"):
        start(small_run(tmp_path, width=50000), overwrite=True)
    assert left(tmp_path) == before
    assert (tmp_path / "metrics.json").read_text() == (tmp_path / "config.yaml").read_text() == "x"


def test_what_is_replaced_counts_as_space(tmp_path, monkeypatch, caplog):
    run = small_run(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 100, width=50000, steps=1)
    for name in ("model_0000000", "model_final"):
        save(run, name)
    monkeypatch.setattr(run_folder, "free_bytes", lambda _: 0)
    with pytest.raises(UserError, match="0.0 MB are free"):
        start(run)
    with caplog.at_level(logging.WARNING):
        start(run, overwrite=True)
    assert not caplog.records
    assert not list(tmp_path.glob("*.pth"))
