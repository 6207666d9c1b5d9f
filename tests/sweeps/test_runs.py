"""What a sweep reads from the folders of its runs: an answer, or none, whatever is in there."""

from __future__ import annotations

import json
import os

import pytest

from metaalign_det.sweeps.runs import (
    _TAIL_BYTES,
    RESULT_FILE,
    collect_scores,
    has_checkpoint,
    last_iteration,
    read_scores,
)
from tests.sweeps.fake_training import plan


@pytest.fixture
def run(place):
    (run,) = plan(place)
    run.folder.mkdir(parents=True)
    return run


def finish(run):
    scores = {f"{name}/classification/accuracy": 50.0 for name in run.tests}
    (run.folder / "metrics.json").write_text(json.dumps({"iteration": 4, **scores}) + "\n")


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"{", b"null", b"\xff\xfe", b'{"identity": 1}', b"[" * 10**5,
     b'{"identity": "x", "scores": []}', b'{"scores": {"a": 1}, "identity": "x"}',
     b'{"scores": {"a": {"b": "c"}}, "identity": "x"}', b"1" * 5000,
     b'{"scores": {"a": {"b": 1' + b"0" * 400 + b'}}, "identity": "x"}'],
)  # fmt: skip
def test_a_damaged_result_is_collected_anew(run, text, caplog):
    finish(run)
    (run.folder / RESULT_FILE).write_bytes(text)
    assert read_scores(run) is None
    assert "is damaged" in caplog.text
    assert collect_scores(run)
    assert all(s == {"classification/accuracy": 50.0} for s in read_scores(run).values())


def test_a_damaged_result_without_metrics_is_a_run_to_be_done(run):
    (run.folder / RESULT_FILE).write_bytes(b"")
    assert not collect_scores(run)


def test_folders_and_pipes_in_the_place_of_files_are_no_files(run):
    (run.folder / RESULT_FILE).mkdir()
    os.mkfifo(run.folder / "metrics.json")
    os.mkfifo(run.folder / "model_0000001.pth")
    assert read_scores(run) is None
    assert last_iteration(run.folder) == 0
    assert not has_checkpoint(run.folder)
    assert not collect_scores(run)


def test_a_run_that_only_has_selected_weights_is_begun_anew(run):
    for name in ("model_selected.pth", "model_oracle.pth"):
        (run.folder / name).touch()
    assert "--overwrite" in run.arguments() and "--resume" not in run.arguments()
    (run.folder / "model_0000001.pth").touch()
    assert "--resume" in run.arguments() and "--overwrite" not in run.arguments()


def test_a_checkpoint_that_was_moved_and_linked_is_not_replaced(run, tmp_path):
    (tmp_path / "elsewhere.pth").touch()
    (run.folder / "model_0000001.pth").symlink_to(tmp_path / "elsewhere.pth")
    assert "--overwrite" not in run.arguments()


def test_an_evaluation_of_many_classes_is_longer_than_the_tail_that_is_read(run):
    scores = {f"target_test/classification/accuracy/class_{i}": 100 / 3 for i in range(345)}
    records = [{"iteration": 3, "lr": 0.1}, {"iteration": 4, **scores}]
    lines = [json.dumps(record) for record in records]
    assert len(lines[1]) > _TAIL_BYTES
    (run.folder / "metrics.json").write_text("\n".join(lines) + "\n")
    assert last_iteration(run.folder) == 4
