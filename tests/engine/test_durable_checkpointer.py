"""Checkpoints: whole whatever happens, as many as are wanted, with what they need."""

from __future__ import annotations

import errno
import resource
import signal

import pytest
from detectron2.data import MetadataCatalog

from benchmarks.crash_points import count_operations, failing_at, killed_at
from metaalign_det.engine.durable_checkpointer import class_names
from metaalign_det.errors import UserError
from metaalign_det.modeling.weight_files import read_weight_file
from tests.engine.small import (
    resumed,
    same,
    save,
    second_save,
    small_cfg,
    small_run,
    step,
    weights,
)

# ---- what ends a save ------------------------------------------------------------------------


def test_a_save_flushes_content_before_names_and_the_checkpoint_before_its_marker(tmp_path):
    run = second_save(tmp_path)
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
    twin = second_save(tmp_path / "twin")
    points = _crash_points(lambda: save(twin))
    run, again = second_save(tmp_path), small_run(tmp_path)
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
    run, again = second_save(tmp_path), small_run(tmp_path)
    twin = second_save(tmp_path / "twin")
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
    run = second_save(tmp_path)
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
    run = second_save(tmp_path)
    message = "model_0000002.pth could not be written"
    with pytest.raises(UserError, match=message), failing_at(0, number):
        save(run)


def test_a_folder_that_is_gone_is_said_to_hold_what_was_saved(tmp_path):
    run = second_save(tmp_path / "run")
    (tmp_path / "run").rename(tmp_path / "gone")
    message = "its folder is gone; what was saved before is where the folder is"
    with pytest.raises(UserError, match=message):
        save(run)
    assert resumed(tmp_path / "gone")[0] == 1


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


def test_a_negative_number_to_keep_is_refused_before_anything_is_removed(tmp_path):
    save(small_run(tmp_path, steps=1))
    with pytest.raises(UserError, match="CHECKPOINT_KEEP must be >= 0, got -1; 0 keeps all"):
        small_run(tmp_path, "SOLVER.CHECKPOINT_KEEP", -1, steps=2)
    run = small_run(tmp_path, steps=2)
    run.keep = -1
    save(run)
    assert len(list(tmp_path.glob("model_*.pth"))) == 2


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
