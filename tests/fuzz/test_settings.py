"""Config files and KEY VALUE pairs are understood or explained."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from metaalign_det.config import load_cfg
from metaalign_det.config_files import dotted_keys
from metaalign_det.engine.resume_settings import flat_settings
from tests.engine.small import small_cfg
from tests.fuzz.inputs import answers_or_explains, damaged, spoiled, text, values

CFG = small_cfg("out")
KEYS = sorted(dict(dotted_keys(CFG)))
FILE = {
    "_BASE_": "base.yaml",
    "SEED": 3,
    "SOLVER": {"BASE_LR": 0.1, "STEPS": [1, 2], "MAX_ITER": 5},
    "DATASETS": {"TRAIN": ["a"], "REGISTER": [{"NAME": "x", "FORMAT": "voc", "ROOT": "y"}]},
    "MODEL": {"DA": {"GLOBAL": {"FEATURE": "res4"}}, "DEVICE": "cpu"},
}


@pytest.fixture
def base(tmp_path):
    (tmp_path / "base.yaml").write_text("SOLVER: {GAMMA: 0.5}\n")
    return tmp_path


@given(content=damaged(yaml.safe_dump(FILE).encode()))
@example(content=b"SEED: " + b"[" * 3000)
@example(content=b"SEED: " + b"9" * 5000)
@example(content=b"_BASE_: /dev/zero")
@example(content=b"_BASE_: " + b"a" * 5000)
@example(content=b"_BASE_: ~nobody/a.yaml")
@example(content=b"? [1, 2]\n: 3")
@example(content=b"SOLVER: &a\n  x: *a")
@example(content=b"DATASETS: {REGISTER: &a [*a]}")
@example(
    content=b"A: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    + b"\n".join(
        b"%c: &%c [%s]" % (c, c + 32, b", ".join([b"*%c" % (c + 31)] * 9)) for c in range(66, 91)
    )
)
@example(content=b"SEED: !!timestamp x")
def test_config_files(base, content):
    (base / "own.yaml").write_bytes(content)
    answers_or_explains(lambda: load_cfg(base / "own.yaml"))


@given(content=spoiled(FILE))
@example(content={"DATASETS": {"TRAIN": {"a": "9" * 5000}}})
def test_values_in_config_files(base, content):
    content = json.loads(json.dumps(content))  # keys of text
    (base / "own.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    answers_or_explains(lambda: load_cfg(base / "own.yaml"))


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
