"""Which checkpoint a run goes on from: the newest that is whole, and only where it fits."""

from __future__ import annotations

import logging
import os
import shutil

import pytest
import torch

from metaalign_det.errors import UserError
from metaalign_det.modeling.checksums import seal_archive
from metaalign_det.modeling.weight_files import read_weight_file
from tests.engine.small import (
    resumed,
    same,
    save,
    second_save,
    small_run,
    step,
    weights,
)

# ---- which checkpoint ------------------------------------------------------------------------


def _break(path, how):
    data = path.read_bytes()
    if how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "garbage":
        path.write_bytes(b"garbage" * 100)
    elif how == "nothing":
        torch.save({}, path)
    elif how == "flipped":
        tensor = read_weight_file(path)["model"]["weight"].numpy().tobytes()
        place = data.index(tensor)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    elif how == "weights":
        torch.save(read_weight_file(path)["model"], path)
    elif how == "older":  # an earlier version's
        content = read_weight_file(path)
        del content["metaalign"]
        torch.save(content, path)
    else:
        content = read_weight_file(path)
        content["metaalign"][how] = None
        torch.save(content, path)
        seal_archive(path)


DAMAGES = ["truncated", "empty", "garbage", "nothing", "flipped", "weights", "older"]
DAMAGES += ["iteration", "config"]


@pytest.mark.parametrize("how", DAMAGES)
def test_resuming_takes_the_newest_checkpoint_that_is_whole_and_says_so(tmp_path, how, caplog):
    run = second_save(tmp_path)
    save(run)
    _break(tmp_path / "model_0000002.pth", how)
    with caplog.at_level(logging.WARNING):
        iteration, _ = resumed(tmp_path)
    assert iteration == 1
    said = "\n".join(r.getMessage() for r in caplog.records)
    assert "model_0000002.pth" in said
    assert "going on from" in said and "model_0000001.pth, iteration 1" in said


@pytest.mark.parametrize("how", DAMAGES)
def test_resuming_where_nothing_is_whole_is_one_sentence_and_changes_nothing(tmp_path, how):
    save(small_run(tmp_path, steps=2))
    _break(tmp_path / "model_0000001.pth", how)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"^--resume: no checkpoint in .*model_0000001") as error:
        resumed(tmp_path)
    assert "\n" not in str(error.value)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before


def test_the_newest_goes_by_iteration_not_by_name(tmp_path):
    run = small_run(tmp_path, steps=2)
    save(run, "model_final")
    for _ in range(2):
        step(run)
    save(run)
    assert resumed(tmp_path)[0] == 3
    step(run)
    save(run, "model_best")
    assert resumed(tmp_path)[0] == 4


@pytest.mark.parametrize(
    "text",
    [b"../other.pth", b"/etc/passwd", b"sub/model.pth", b"", b"\xff\xfe", b"model.pkl", b"a\nb.pth",
     b"..", b".hidden.pth", b"x" * 5000 + b".pth", b"model_0000001.pth\x00.pth"],
)  # fmt: skip
def test_a_marker_that_names_anything_but_a_checkpoint_of_its_folder_is_ignored(
    tmp_path, text, caplog
):
    save(small_run(tmp_path / "run", steps=2))
    save(small_run(tmp_path, steps=7), "other")
    (tmp_path / "run" / "last_checkpoint").write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert resumed(tmp_path / "run")[0] == 1
    assert "last_checkpoint is ignored" in caplog.text


def test_links_and_pipes_are_no_checkpoints_and_no_markers(tmp_path):
    save(small_run(tmp_path / "other", steps=7))
    save(small_run(tmp_path / "run", steps=2))
    (tmp_path / "run" / "model_0000009.pth").symlink_to(tmp_path / "other" / "model_0000006.pth")
    os.mkfifo(tmp_path / "run" / "model_0000010.pth")
    (tmp_path / "run" / "last_checkpoint").unlink()
    os.mkfifo(tmp_path / "run" / "last_checkpoint")
    assert resumed(tmp_path / "run")[0] == 1


def test_a_missing_marker_or_checkpoint(tmp_path):
    run = second_save(tmp_path)
    save(run)
    (tmp_path / "last_checkpoint").unlink()
    assert resumed(tmp_path)[0] == 2
    (tmp_path / "model_0000002.pth").unlink()
    assert resumed(tmp_path)[0] == 1
    (tmp_path / "model_0000001.pth").unlink()
    with pytest.raises(UserError, match="--resume: there is no checkpoint in"):
        resumed(tmp_path)


# ---- whose checkpoint ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "opts, message",
    [
        (("SEED", 7), "SEED was -1 and is 7"),
        (("SOLVER.IMS_PER_BATCH", 8), "SOLVER.IMS_PER_BATCH was 16 and is 8"),
        (("METAALIGN.ENABLED", True), "METAALIGN.ENABLED was False and is True"),
        (("MODEL.RESNETS.DEPTH", 101), "MODEL.RESNETS.DEPTH was 50 and is 101"),
        (("SOLVER.MAX_ITER", 1), r"SOLVER.MAX_ITER is 1, but .* has done 2 iterations"),
    ],
)
def test_other_settings_are_refused_by_name(tmp_path, opts, message):
    save(small_run(tmp_path, steps=2))
    with pytest.raises(UserError, match=message):
        resumed(tmp_path, *opts)


def test_another_model_is_refused_although_the_settings_are_the_same(tmp_path):
    save(small_run(tmp_path, steps=2))
    with pytest.raises(UserError, match=r"model: weight has shape \(2, 3\) there and \(5, 3\)"):
        resumed(tmp_path, width=5)


def test_a_state_that_does_not_fit_is_one_sentence(tmp_path):
    run = small_run(tmp_path, steps=2)
    save(run)
    content = read_weight_file(tmp_path / "model_0000001.pth")
    content["trainer"] = {"iteration": 1}
    torch.save(content, tmp_path / "model_0000001.pth")
    seal_archive(tmp_path / "model_0000001.pth")
    with pytest.raises(UserError, match=r"state of the trainer in .* does not fit .*KeyError"):
        resumed(tmp_path)


def test_settings_that_may_change_are_named_in_the_log(tmp_path, caplog):
    save(small_run(tmp_path, steps=2))
    opts = ("SOLVER.BASE_LR", 0.5, "SOLVER.MAX_ITER", 200, "DATALOADER.NUM_WORKERS", 0)
    with caplog.at_level(logging.INFO):
        resumed(tmp_path, *opts)
    assert "from here on SOLVER.BASE_LR 0.001 -> 0.5" in caplog.text
    assert "from here on SOLVER.MAX_ITER 100 -> 200" in caplog.text
    assert "NUM_WORKERS" not in caplog.text


def test_a_run_may_move_to_another_folder(tmp_path):
    save(small_run(tmp_path / "a", steps=2))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert resumed(tmp_path / "b")[0] == 1


def test_an_evaluation_may_have_other_settings_but_no_other_model(tmp_path):
    save(small_run(tmp_path, steps=2))
    run = small_run(tmp_path, "SEED", 9)
    run.evaluate_last()
    assert same(weights(run), weights(small_run(tmp_path, steps=2)))
    with pytest.raises(UserError, match="another model"):
        small_run(tmp_path, width=5).evaluate_last()
