"""Readers of what runs leave in their folders only ever answer or explain."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import numpy as np
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from metaalign_det.data.loader.bad_images import _stored
from metaalign_det.engine.checkpoint_files import named_last
from metaalign_det.engine.continuation import rewind_metrics
from metaalign_det.engine.run_folder import HOLDER_FILE, _holder, _holder_has_ended
from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free.outcome import FILE_NAME, read_outcome
from metaalign_det.explain.predict_checkpoint import find_checkpoint
from metaalign_det.reports.metrics import read_metrics
from metaalign_det.reports.run_report.groups import config_differences, group_runs
from metaalign_det.reports.run_report.run_files import find_runs
from metaalign_det.sweeps.label_free import _read_predictions
from metaalign_det.sweeps.runs import RESULT_FILE, collect_scores, last_iteration, read_scores
from tests.fuzz.inputs import answers_or_explains, damaged, spoiled, text


@given(name=text | st.binary(max_size=30), named=st.booleans())
def test_last_checkpoint(tmp_path, name, named):
    data = name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass")
    (tmp_path / "last_checkpoint").write_bytes(data + b".pth" * named)
    found = named_last(tmp_path)
    assert found is None or (tmp_path / found).parent == tmp_path
    try:
        assert find_checkpoint(tmp_path).parent == tmp_path
    except UserError as error:
        assert "no last checkpoint" in str(error)


RECORDS = b"".join(json.dumps({"iteration": i, "loss": 0.5}).encode() + b"\n" for i in range(4))


@given(content=damaged(RECORDS), iteration=st.integers(-2, 5))
def test_metrics(tmp_path, content, iteration):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    assert type(last_iteration(tmp_path)) is int
    answers_or_explains(lambda: read_metrics(path))
    rewind_metrics(path, iteration)
    assert content.startswith(path.read_bytes())


RESULT = {"identity": "i", "scores": {"d": {"voc/AP50": 0.5, "voc/AP": None}}}


@given(content=spoiled(RESULT).map(json.dumps) | damaged(json.dumps(RESULT).encode()))
@example(content="")
def test_results_of_sweeps(tmp_path, content):
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (tmp_path / RESULT_FILE).write_bytes(data)
    run = SimpleNamespace(folder=tmp_path, identity="i", keeps_weights=False, max_iter=4, tests=())
    scores = read_scores(run)
    assert scores is None or all(type(x) is float for s in scores.values() for x in s.values())
    assert collect_scores(run) is (scores is not None)


SELECTION = {
    "validator": "entropy", "higher_is_better": False, "oracle_by": "", "oracle": None,
    "last": {
        "checkpoint": "model_final.pth",
        "candidate": {"iteration": 3, "scores": {"entropy": 1.0}, "metrics": {"d": {"a": None}}},
    },
    "selected": None,
    "candidates": [{"iteration": 3, "scores": {"entropy": 1.0}, "metrics": {}}],
}  # fmt: skip


@given(content=spoiled(SELECTION).map(json.dumps) | damaged(json.dumps(SELECTION).encode()))
def test_outcomes_of_selection(tmp_path, content):
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (tmp_path / FILE_NAME).write_bytes(data)
    answers_or_explains(lambda: read_outcome(tmp_path))


HOLDER = {"pid": 1, "host": "here", "since": "2026-01-01", "processes": 1}


@given(content=spoiled(HOLDER).map(json.dumps) | damaged(json.dumps(HOLDER).encode()))
def test_holders_of_folders(tmp_path, content):
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (tmp_path / HOLDER_FILE).write_bytes(data)
    assert isinstance(_holder(tmp_path), str)
    assert isinstance(_holder_has_ended(tmp_path), bool)


BAD_IMAGES = [{"file": "a.jpg", "reason": "truncated", "replaced": 3}]


@given(content=spoiled(BAD_IMAGES).map(json.dumps) | damaged(json.dumps(BAD_IMAGES).encode()))
@example(content=b"[" * 5000)
def test_lists_of_bad_images(tmp_path, content):
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (tmp_path / "bad_images.json").write_bytes(data)
    assert all(type(e["replaced"]) is int for e in _stored(tmp_path / "bad_images.json"))


def _npz() -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, last=np.full((3, 2), 0.5, np.float32))
    return stream.getvalue()


@given(content=damaged(_npz()))
def test_predictions_of_runs(tmp_path, content):
    (tmp_path / "predictions.npz").write_bytes(content)
    answers_or_explains(lambda: _read_predictions(tmp_path / "predictions.npz"))


CONFIG = {
    "SEED": 3, "OUTPUT_DIR": "out", "SOLVER": {"MAX_ITER": 4, "BASE_LR": 0.1},
    "DATASETS": {"TRAIN": ["a"], "TARGET": ["b"], "TEST": ["d", "e"]}, "MODEL": {"WEIGHTS": ""},
}  # fmt: skip
METRICS = '{"iteration": 3, "d/voc/AP50": 12.5, "total_loss": 1.0}\n'


@given(
    config=spoiled(CONFIG).map(lambda c: yaml.safe_dump(json.loads(json.dumps(c)))),
    damage=st.just("") | damaged(yaml.safe_dump(CONFIG).encode()),
    result=spoiled(RESULT | {"method": "m", "variant": "v"}).map(json.dumps),
    selection=spoiled(SELECTION).map(json.dumps),
    metrics=st.just(METRICS.encode()) | damaged(METRICS.encode()),
)
def test_runs_of_a_report(tmp_path, config, damage, result, selection, metrics):
    contents = {
        "config.yaml": damage or config,
        RESULT_FILE: result,
        FILE_NAME: selection,
        "metrics.json": metrics,
    }
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
        (tmp_path / name).write_bytes(data)

    def report():
        (run,) = find_runs([tmp_path])
        assert run.is_complete in (True, False) and isinstance(run.scores, dict)
        config_differences(group_runs([run]))

    answers_or_explains(report)
