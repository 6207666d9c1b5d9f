"""Checkpoints: whole whatever happens, and gone on from only where they fit."""

from __future__ import annotations

import errno
import logging
import os
import resource
import shutil
import signal

import pytest
import torch
from detectron2.data import MetadataCatalog

from benchmarks.crash_points import count_operations, failing_at, killed_at
from metaalign_det.engine.durable_checkpointer import class_names
from metaalign_det.errors import UserError
from metaalign_det.modeling.checksums import seal_archive
from metaalign_det.modeling.weight_files import read_weight_file
from tests.engine.small import save, small_cfg, small_run, step, weights


def resumed(folder, *opts, **options):
    run = small_run(folder, *opts, **options)
    return run.resume(), run


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(v, b[k]) for k, v in a.items())


# ---- what ends a save ------------------------------------------------------------------------


def _second_save(folder):
    """A run whose first checkpoint is on the disk and whose second is about to be."""
    run = small_run(folder, steps=2)
    save(run)
    step(run)
    return run


def test_a_save_flushes_content_before_names_and_the_checkpoint_before_its_marker(tmp_path):
    run = _second_save(tmp_path)
    names = count_operations(lambda: save(run))
    essential = [n for n in names if not n.endswith("write")]
    named = ["fsync", "replace", "open", "fsync", "close"]
    assert essential == ["open", "open", *named, "open", *named]  # the second one seals it


def _crash_points(work):
    """Numbers of all file operations of ``work``; of torch's hundreds of writes, each 9th."""
    names = count_operations(work)
    return [i for i, name in enumerate(names) if not name.endswith("write") or i % 9 == 0]


def test_a_kill_at_any_operation_of_a_save_costs_one_save_at_most(tmp_path):
    expected = small_run(tmp_path / "other", steps=5)
    twin = _second_save(tmp_path / "twin")
    points = _crash_points(lambda: save(twin))
    run, again = _second_save(tmp_path), small_run(tmp_path)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir() if f.is_file()}
    found = []
    for index in points:
        for file in tmp_path.glob("*.pth"):
            file.unlink()
        for name, content in before.items():
            (tmp_path / name).write_bytes(content)
        assert killed_at(index, lambda: save(run))
        found.append(again.resume())
        while again.checkpointables["trainer"].iter < 4:
            step(again)
        assert same(weights(again), weights(expected)), f"killed at operation {index}"
    assert len(found) > 20 and found == sorted(found) and set(found) == {1, 2}


def test_a_full_disk_at_any_operation_of_a_save_is_one_sentence(tmp_path):
    run, again = _second_save(tmp_path), small_run(tmp_path)
    twin = _second_save(tmp_path / "twin")
    for index in _crash_points(lambda: save(twin)):
        with pytest.raises(UserError, match=r"full .*; the last good") as error, failing_at(index):
            save(run)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.glob(".*partial"))
        assert again.resume() in (1, 2)


def test_a_save_that_replaces_a_checkpoint_of_the_same_name_cannot_harm_it(tmp_path):
    run, again = small_run(tmp_path, steps=2), small_run(tmp_path)
    save(run)
    for index in _crash_points(lambda: save(small_run(tmp_path / "twin", steps=2))):
        assert killed_at(index, lambda: save(run))
        assert again.resume() == 1


def test_a_file_size_limit_is_one_sentence_and_the_last_checkpoint_is_named(tmp_path):
    """A limit that the operating system enforces, not one that a test pretends."""
    run = _second_save(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"disk is full or gone.* good .* model_0000001.pth"):
            save(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert resumed(tmp_path)[0] == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_folder_that_cannot_be_written_to_any_more_is_one_sentence(tmp_path, number):
    run = _second_save(tmp_path)
    message = "model_0000002.pth could not be written"
    with pytest.raises(UserError, match=message), failing_at(0, number):
        save(run)


def test_a_folder_that_is_gone_is_said_to_hold_what_was_saved(tmp_path):
    run = _second_save(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "gone")
    message = "its folder is gone; what was saved before is where the folder is"
    with pytest.raises(UserError, match=message):
        save(run)
    assert resumed(tmp_path / "gone")[0] == 1


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
    run = _second_save(tmp_path)
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
    run = _second_save(tmp_path)
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


# ---- what is kept, and what is inside --------------------------------------------------------


def test_the_last_k_checkpoints_are_kept_and_the_named_ones(tmp_path):
    run = small_run(tmp_path, "SOLVER.CHECKPOINT_KEEP", 2, steps=1)
    save(run, "model_best")
    for _ in range(5):
        save(run)
        step(run)
    save(run, "model_final")
    assert sorted(f.name for f in tmp_path.glob("*.pth")) == [
        "model_0000003.pth", "model_0000004.pth", "model_best.pth", "model_final.pth",
    ]  # fmt: skip


def test_a_damaged_later_checkpoint_does_not_push_out_a_good_earlier_one(tmp_path):
    opts = ("SOLVER.CHECKPOINT_KEEP", 1)
    (tmp_path / "model_0000009.pth").write_bytes(b"damaged")
    run = small_run(tmp_path, *opts, steps=3)
    save(run)
    step(run)
    save(run)
    assert resumed(tmp_path, *opts)[0] == 3


def test_a_checkpoint_says_whose_it_is(tmp_path):
    save(small_run(tmp_path, "SEED", 5, steps=3))
    saved = read_weight_file(tmp_path / "model_0000002.pth")["metaalign"]
    assert saved["version"] == 2
    assert saved["iteration"] == 2
    assert saved["processes"] == 1
    assert "SEED: 5" in saved["config"].splitlines()
    assert saved["classes"] == []


def test_class_names_are_those_of_the_training_data(tmp_path, catalog):
    for name, key in (("boxes", "thing_classes"), ("labels", "class_names")):
        catalog.register(name, list)
        MetadataCatalog.get(name).set(**{key: ["cat", "dog"]})
        assert class_names(small_cfg(tmp_path, "DATASETS.TRAIN", (name,))) == ["cat", "dog"]


def test_the_final_weights_are_written_as_safetensors_where_asked(tmp_path):
    run = small_run(tmp_path, "SOLVER.CHECKPOINT_SAFETENSORS", True, steps=2)
    save(run)
    assert not list(tmp_path.glob("*.safetensors"))
    save(run, "model_final")
    content = read_weight_file(tmp_path / "model_final.safetensors")
    assert same(weights(run), content["model"])
    assert content["metaalign"]["iteration"] == 1


def test_numpy_scalars_in_a_state_are_saved_as_numbers(tmp_path):
    import numpy as np

    run = small_run(tmp_path, steps=1)
    run.save("model_0000000", iteration=np.int64(0), best=np.float32(0.5))
    assert read_weight_file(tmp_path / "model_0000000.pth")["best"] == 0.5
