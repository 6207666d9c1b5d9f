"""Files of weights and states, damaged in every way, are read or explained."""

from __future__ import annotations

import io
import json
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaalign_det.engine.checkpoint_files import choose_newest
from metaalign_det.errors import UserError
from metaalign_det.explain.predict_checkpoint import open_checkpoint
from metaalign_det.modeling.checksums import seal_archive
from metaalign_det.modeling.weight_files import peek, read_weight_file, weights_in
from tests.engine.small import save, small_run
from tests.fuzz.inputs import answers_or_explains, damaged, spoiled, spoiled_somewhere

NAME = "model_0000001.pth"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save(small_run(folder, steps=2))
    return (folder / NAME).read_bytes()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """That is to go on; its config is written as text once only, which takes most of the time."""
    made = small_run(tmp_path_factory.mktemp("resumed"))
    dumped = made.cfg.dump()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(made.cfg), "dump", lambda cfg: dumped)
        yield made


def _resume(run, folder):
    run.save_dir = str(folder)
    answers_or_explains(run.resume)


@given(data=st.data())
def test_checkpoints_on_resumption(tmp_path, checkpoint, data):
    (tmp_path / NAME).write_bytes(data.draw(damaged(checkpoint)))
    answers_or_explains(lambda: choose_newest(tmp_path))


@given(data=st.data())
def test_pickles_in_checkpoints_whose_checksums_are_right(tmp_path, run, checkpoint, data):
    archive = zipfile.ZipFile(io.BytesIO(checkpoint))
    with zipfile.ZipFile(tmp_path / NAME, "w") as again:
        for record in archive.infolist():
            content = archive.read(record)
            if record.filename.endswith("data.pkl"):
                content = data.draw(damaged(content))
            again.writestr(record.filename, content)
    seal_archive(tmp_path / NAME)
    _resume(run, tmp_path)


@given(data=st.data())
def test_states_on_resumption(tmp_path, run, checkpoint, data):
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    if _written(data.draw(spoiled_somewhere(content)), tmp_path / NAME):
        _resume(run, tmp_path)


ABOUT = {
    "version": 2, "iteration": 1, "config": "SEED: 1\n", "settings": "x", "classes": ["cat"],
    "processes": 1,
}  # fmt: skip


@given(about=spoiled(ABOUT))
def test_what_checkpoints_say_of_themselves(tmp_path, run, checkpoint, about):
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    if _written(content | {"metaalign": about}, tmp_path / NAME):
        _resume(run, tmp_path)
        answers_or_explains(lambda: open_checkpoint(tmp_path / NAME))


@given(data=st.data())
def test_configs_that_checkpoints_bring_along(tmp_path, checkpoint, data):
    content = torch.load(io.BytesIO(checkpoint), weights_only=True)
    config = data.draw(damaged(content["metaalign"]["config"].encode()))
    content["metaalign"]["config"] = config.decode("utf-8", "replace")
    if _written(content, tmp_path / NAME):
        answers_or_explains(lambda: open_checkpoint(tmp_path / NAME))


def _written(content: object, path) -> bool:
    try:
        torch.save(content, path)
    except (OverflowError, UnicodeEncodeError):  # what torch cannot write
        return False
    seal_archive(path)
    return True


def _legacy() -> bytes:
    stream = io.BytesIO()
    content = {"model": {"w": torch.ones(3, 2)}, "iteration": 1}
    torch.save(content, stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


@given(content=damaged(_legacy()))
def test_files_of_old_versions_of_torch(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    answers_or_explains(lambda: weights_in(read_weight_file(path), path))
    peek(path, "iteration")


PICKLES = [
    pickle.dumps({"model": {"w": np.arange(4, dtype=np.float32)}, "__author__": "x"}, protocol)
    for protocol in range(6)
]


@given(content=st.sampled_from(PICKLES).flatmap(damaged))
def test_pickles(tmp_path, content):
    path = tmp_path / "x.pkl"
    path.write_bytes(content)
    answers_or_explains(lambda: weights_in(read_weight_file(path), path))


TENSORS = safetensors.torch.save(
    {"w": torch.ones(3, 2), "b": torch.zeros(2, dtype=torch.int64)},
    {"format": "pt", "metaalign": json.dumps(ABOUT)},
)
HEADER = json.loads(TENSORS[8 : 8 + int.from_bytes(TENSORS[:8], "little")])


@given(content=damaged(TENSORS))
def test_safetensors(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    answers_or_explains(lambda: weights_in(read_weight_file(path), path))


@given(header=spoiled(HEADER))
def test_headers_of_safetensors(tmp_path, header):
    path = tmp_path / "x.safetensors"
    data = json.dumps(header).encode("utf-8", "surrogatepass")
    path.write_bytes(len(data).to_bytes(8, "little") + data + bytes(40))
    answers_or_explains(lambda: weights_in(read_weight_file(path), path))
    answers_or_explains(lambda: open_checkpoint(path))


def test_the_contents_are_valid_before_they_are_damaged(tmp_path, run, checkpoint):
    """Else the tests above would only ever see the first complaint."""
    run.save_dir = str(tmp_path)
    assert _written(torch.load(io.BytesIO(checkpoint), weights_only=True), tmp_path / NAME)
    assert run.resume() == 1
    path = tmp_path / "x.safetensors"
    path.write_bytes(TENSORS)
    assert set(weights_in(read_weight_file(path), path)) == {"w", "b"}
    with pytest.raises(UserError, match="names 1 classes, but its model has 80"):
        open_checkpoint(path)
