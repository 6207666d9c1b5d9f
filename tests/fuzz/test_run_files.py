"""Readers of what runs write, and of the command line's settings, only ever answer or explain."""

from __future__ import annotations

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from metaalign_det.config import load_cfg
from metaalign_det.config_files import dotted_keys
from metaalign_det.engine.checkpoint_files import choose_newest, named_last
from metaalign_det.engine.continuation import rewind_metrics
from metaalign_det.engine.resume_settings import check_settings, flat_settings
from metaalign_det.modeling.weight_files import read_weight_file
from metaalign_det.sweeps.runs import RESULT_FILE, collect_scores, last_iteration, read_scores
from tests.engine.small import save, small_cfg, small_run
from tests.fuzz.inputs import answers_or_explains, damaged, spoiled, text, values

CFG = small_cfg("out")
KEYS = sorted(dict(dotted_keys(CFG)))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save(small_run(folder, steps=2))
    return (folder / "model_0000001.pth").read_bytes()


@given(data=st.data())
def test_checkpoints_on_resumption(tmp_path, checkpoint, data):
    content = data.draw(damaged(checkpoint))
    (tmp_path / "model_0000001.pth").write_bytes(content)
    answers_or_explains(lambda: choose_newest(tmp_path))


@given(content=spoiled({"iteration": 3, "config": "SEED: 1\n", "settings": "x", "processes": 1}))
def test_what_checkpoints_say_of_themselves(tmp_path, content):
    state = {"model": {"w": torch.zeros(1)}, "trainer": {"iteration": 3}, "metaalign": content}
    try:
        torch.save({**state, "iteration": 3}, tmp_path / "model_0000003.pth")
    except (OverflowError, UnicodeEncodeError):  # what torch cannot write
        return
    answers_or_explains(lambda: check_settings(choose_newest(tmp_path)[1]["metaalign"], CFG, "x"))


PICKLES = [
    pickle.dumps({"model": {"w": np.arange(4, dtype=np.float32)}, "__author__": "x"}, protocol)
    for protocol in range(6)
]


@given(content=st.sampled_from(PICKLES).flatmap(damaged))
def test_pickles(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    answers_or_explains(lambda: read_weight_file(path))


@given(name=text | st.binary(max_size=30), named=st.booleans())
def test_last_checkpoint(tmp_path, name, named):
    data = name if isinstance(name, bytes) else name.encode("utf-8", "surrogatepass")
    (tmp_path / "last_checkpoint").write_bytes(data + b".pth" * named)
    found = named_last(tmp_path)
    assert found is None or (tmp_path / found).parent == tmp_path


RECORDS = b"".join(json.dumps({"iteration": i, "loss": 0.5}).encode() + b"\n" for i in range(4))


@given(content=damaged(RECORDS), iteration=st.integers(-2, 5))
def test_metrics(tmp_path, content, iteration):
    path = tmp_path / "metrics.json"
    path.write_bytes(content)
    assert type(last_iteration(tmp_path)) is int
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


@given(key=st.sampled_from(KEYS) | text, value=text | values.map(str) | values.map(repr))
@example(key="SOLVER.STEPS", value="9" * 5000)
@example(key="DATASETS.TRAIN", value="(" * 3000)
@example(key="SEED.X", value="3")
def test_keys_and_values(key, value):
    answers_or_explains(lambda: load_cfg("", [key, value]))


@given(count=st.integers(0, 5), what=text)
def test_any_number_of_words_in_the_place_of_pairs(count, what):
    answers_or_explains(lambda: load_cfg("", ["SEED", "1", what, what, what][:count]))


@given(content=damaged(CFG.dump().encode()))
def test_configs_in_checkpoints(content):
    answers_or_explains(lambda: flat_settings(content.decode("utf-8", "replace"), "x.pth"))
