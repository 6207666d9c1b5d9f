"""What a sweep reads from the folders of its runs: an answer, or none, whatever is in there."""

from __future__ import annotations

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaalign_det.sweeps.runs import (
    RESULT_FILE,
    collect_scores,
    has_checkpoint,
    last_iteration,
    read_scores,
)
from tests.sweeps.fake_training import plan

FUZZ = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "200")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda x: (
        st.lists(x, max_size=3)
        | st.dictionaries(
            st.sampled_from(["iteration", "identity", "scores", "a/b", ""]), x, max_size=4
        )
    ),
    max_leaves=8,
)


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
     b'{"scores": {"a": {"b": "c"}}, "identity": "x"}', b"1" * 5000],
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


@FUZZ
@given(st.binary(max_size=200) | _json.map(lambda x: json.dumps(x).encode()))
def test_any_result_file_is_scores_or_none(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("run")
    (folder / "dann.yaml").write_text("SOLVER: {MAX_ITER: 4}\n")
    (run,) = plan(folder)
    run.folder.mkdir(parents=True)
    (run.folder / RESULT_FILE).write_bytes(data)
    scores = read_scores(run)
    assert scores is None or isinstance(scores, dict)


@FUZZ
@given(st.lists(st.binary(max_size=60) | _json.map(lambda x: json.dumps(x).encode()), max_size=5))
def test_any_metrics_file_has_a_last_iteration(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("run")
    (folder / "metrics.json").write_bytes(b"\n".join(lines))
    assert type(last_iteration(folder)) is int


def test_folders_and_pipes_in_the_place_of_files_are_no_files(run):
    (run.folder / RESULT_FILE).mkdir()
    os.mkfifo(run.folder / "metrics.json")
    os.mkfifo(run.folder / "model_0000001.pth")
    assert read_scores(run) is None
    assert last_iteration(run.folder) == 0
    assert not has_checkpoint(run.folder)
    assert not collect_scores(run)
