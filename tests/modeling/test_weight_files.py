"""Reading files of weights: nothing in them runs, damage is found, and the rest is one sentence."""

from __future__ import annotations

import pickle
import random
import resource
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from metaalign_det.errors import UserError
from metaalign_det.modeling.weight_files import (
    ArrayUnpickler,
    peek,
    read_weight_file,
    weights_in,
    write_safetensors,
)
from tests.modeling.payloads import pickle_payloads, torch_payloads

_PICKLES = sorted(pickle_payloads("x"))
_TORCH = ["torch-zip", "torch-legacy", "bare-pickle", "torch-script", "tar", "zip-of-nothing"]
_TORCH += ["zip-without-a-version", "whole-module"]


@pytest.fixture(params=["", "1"], ids=["", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def environment(request, monkeypatch):
    if request.param:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", request.param)


def _is_refused(path, mark):
    with pytest.raises(UserError) as refused:
        read_weight_file(path)
    assert not mark.exists(), "it ran"
    assert path.name in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", _PICKLES)
def test_a_pickle_that_would_run_something_is_refused(tmp_path, name):
    path, mark = tmp_path / f"{name}.pkl", tmp_path / "ran"
    path.write_bytes(pickle_payloads(mark)[name])
    _is_refused(path, mark)
    good = pickle.dumps({"w": np.arange(3.0)})
    (tmp_path / "good.pkl").write_bytes(good)
    assert read_weight_file(tmp_path / "good.pkl")["w"].tolist() == [0, 1, 2]


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("suffix", [".pth", ".pt", ".pyth"])
@pytest.mark.parametrize("name", _TORCH)
def test_a_torch_file_that_would_run_something_is_refused(tmp_path, name, suffix):
    path, mark = tmp_path / f"{name}{suffix}", tmp_path / "ran"
    path.write_bytes(torch_payloads(mark)[name])
    _is_refused(path, mark)


def test_the_payloads_run_where_they_are_read_carelessly(tmp_path):
    """They can fail: what is refused above is what would have happened."""
    path, mark = tmp_path / "x.pth", tmp_path / "ran"
    path.write_bytes(torch_payloads(mark)["torch-zip"])
    torch.load(path, weights_only=False)
    assert mark.exists()
    for name in ("stack-global", "inst", "obj", "exec", "open", "object-array"):
        mark.unlink()
        pickle.loads(pickle_payloads(mark)[name])
        assert mark.exists(), name


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_of_numbers_are_read_from_pickles_of_any_protocol(tmp_path, protocol):
    content = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "empty": np.zeros((0, 3), np.float16),
        "scalar": np.float64(1.5),
        "order": OrderedDict(x=(1, [2.5, "text", None, True])),
        "bytes": b"\x00\xff",
    }
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    found = read_weight_file(path)
    assert found.keys() == content.keys()
    for name in ("a", "fortran", "big-endian", "empty"):
        assert found[name].dtype == content[name].dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], content[name])
        found[name][...] = 1  # its own memory, and not read-only
    assert found["scalar"] == 1.5
    assert found["order"]["x"] == (1, [2.5, "text", None, True])
    assert found["bytes"] == b"\x00\xff"


def test_a_pickle_of_python_2_is_read_as_detectron2_does(tmp_path):
    # pickle.dumps({"w": numpy.float32([1, 2])}, 2) under Python 2: text for bytes.
    data = (
        b"\x80\x02}q\x00U\x01wq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\n"
        b"q\x03K\x00\x85U\x01b\x87Rq\x04(K\x01K\x02\x85cnumpy\ndtype\nq\x05U\x02f4K\x00K\x01\x87R"
        b"q\x06(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"U\x08\x00\x00\x80?\x00\x00\x00@tbs."
    )
    (tmp_path / "x.pkl").write_bytes(data)
    assert read_weight_file(tmp_path / "x.pkl")["w"].tolist() == [1.0, 2.0]


def checkpoint(path):
    g = torch.Generator().manual_seed(1)
    content = {
        "model": {"a": torch.rand(50, generator=g), "b": torch.randint(9, (7,), generator=g)},
        "trainer": {"lr": 0.125, "momentum": [torch.rand(20, generator=g)]},
        "iteration": 41,
    }
    torch.save(content, path)
    return content


def _same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.is_tensor(b) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b


def test_a_flipped_bit_in_a_file_of_torch_alone_is_found_or_lies_where_nothing_is_read(tmp_path):
    path = tmp_path / "x.pth"
    content = checkpoint(path)
    data = path.read_bytes()
    found = 0
    rng = random.Random(0)
    for _ in range(300):
        place = rng.randrange(len(data) * 8)
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        try:
            read = read_weight_file(path)
        except UserError as error:
            found += 1
            assert "\n" not in str(error)
        else:
            assert _same(content, read), f"bit {place} went unnoticed"
    assert found > 100


def test_a_flipped_bit_of_a_tensor_is_called_damage(tmp_path):
    path = tmp_path / "x.pth"
    content = checkpoint(path)
    data = bytearray(path.read_bytes())
    place = bytes(data).index(content["model"]["a"].numpy().tobytes())
    data[place + 10] ^= 4
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"x.pth cannot be read: it is damaged \(a checksum"):
        read_weight_file(path)
    assert peek(path, "iteration") == 41  # it looks at no tensor


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"garbage", "it is damaged, or no checkpoint at all$"),
        (b"PK\x03\x04 more garbage", "it is damaged, or no checkpoint at all$"),
    ],
)
def test_what_is_no_file_of_weights_is_one_sentence(tmp_path, content, message):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_weight_file(path)
    assert peek(path, "iteration") is None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_file_that_was_cut_short_is_one_sentence(tmp_path, share):
    path = tmp_path / "x.pth"
    checkpoint(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(UserError, match="x.pth cannot be read"):
        read_weight_file(path)


def test_missing_files_other_names_and_other_contents_are_named(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        read_weight_file(tmp_path / "missing.pth")
    (tmp_path / "x.onnx").write_bytes(b"1")
    with pytest.raises(UserError, match="must end in one of"):
        read_weight_file(tmp_path / "x.onnx")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds a list, not weights by name"):
        read_weight_file(tmp_path / "list.pth")
    with pytest.raises(UserError, match="it is empty"):
        weights_in({}, "x.pth")
    with pytest.raises(UserError, match="'a' is a int"):
        weights_in({"model": {"a": 1}}, "x.pth")


def test_weights_come_from_under_the_usual_keys(tmp_path):
    w = torch.ones(2)
    for content in ({"module.w": w}, {"model": {"w": w}}, {"state_dict": {"module.w": w}}):
        assert torch.equal(weights_in(content, "x")["w"], w)


def test_safetensors_hold_the_weights_and_what_is_to_be_known_of_them(tmp_path):
    model = nn.Sequential(nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last), nn.Linear(2, 2))
    model[1].weight = nn.Parameter(model[1].weight.t())  # not in row order
    write_safetensors(model, tmp_path / "x.safetensors", {"classes": ["é"]})
    content = read_weight_file(tmp_path / "x.safetensors")
    assert content["metaalign"] == {"classes": ["é"]}
    for name, value in model.state_dict().items():
        assert torch.equal(content["model"][name], value)
    data = (tmp_path / "x.safetensors").read_bytes()
    (tmp_path / "x.safetensors").write_bytes(data[:-8])
    with pytest.raises(UserError, match="x.safetensors cannot be read"):
        read_weight_file(tmp_path / "x.safetensors")


def test_a_few_bytes_do_not_take_gigabytes(tmp_path):
    """LONG_BINPUT: the C unpickler makes a table as long as the number says."""
    path = tmp_path / "x.pkl"
    path.write_bytes(b"\x80\x02Nr\xff\xff\xff\x0f.")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="holds a NoneType, not weights"):
        read_weight_file(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 10**6  # kB


def test_an_unpickler_gives_nothing_that_can_be_called(tmp_path):
    (tmp_path / "x").write_bytes(b"cnumpy\nndarray\n.")
    with (tmp_path / "x").open("rb") as file:
        assert ArrayUnpickler(file).load().__module__ == "metaalign_det.modeling.weight_files"
