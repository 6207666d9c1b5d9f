"""Checksums: of what is written here, every single flipped bit is found, wherever it is."""

from __future__ import annotations

import random
import zipfile

import pytest
import torch
from torch import nn

from metaalign_det.errors import UserError
from metaalign_det.modeling.checksums import SEALED_VERSION, check_archive, seal_archive
from metaalign_det.modeling.weight_files import read_weight_file, write_safetensors

SUFFIXES = [".pth", ".safetensors"]


def write(path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(7, 5), nn.Linear(5, 3))
    if path.suffix == ".safetensors":
        write_safetensors(model, path, {"classes": ["cat"]})
    else:
        about = {"version": SEALED_VERSION, "iteration": 3}
        torch.save({"model": model.state_dict(), "metaalign": about}, path)
        seal_archive(path)
    return path.read_bytes()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_300_of_300_flipped_bits_are_found(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    data = write(path)
    assert read_weight_file(path)["metaalign"]
    for place in random.Random(0).sample(range(len(data) * 8), 300):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        with pytest.raises(UserError, match=r"x\.(pth|safetensors) ") as error:
            read_weight_file(path)
        assert "\n" not in str(error.value), f"bit {place}"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flipped_bits_in_the_name_and_the_value_of_a_checksum_are_found(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    data = write(path)
    mark = b"metaalign seal 1 " if suffix == ".pth" else b"metaalign_checksum"
    start = data.index(mark)
    for place in range(8 * (start - 4), 8 * (start + len(mark) + 30), 3):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        path.write_bytes(broken)
        with pytest.raises(UserError, match="cannot be read"):
            read_weight_file(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("change", [b"", b"x", b"\0" * 100])
def test_a_file_that_was_cut_or_goes_on_is_found(tmp_path, suffix, change):
    path = tmp_path / f"x{suffix}"
    data = write(path)
    path.write_bytes(data + change if change else data[:-1])
    with pytest.raises(UserError, match="cannot be read"):
        read_weight_file(path)


def test_a_seal_that_was_taken_off_is_missed(tmp_path):
    """A checkpoint says that it has one."""
    path = tmp_path / "x.pth"
    write(path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.comment = b""
    assert not check_archive(path)
    with pytest.raises(UserError, match="the checksum that this package writes is missing"):
        read_weight_file(path)


def test_files_of_others_have_no_seal_and_are_read(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "x.pth")
    assert not check_archive(tmp_path / "x.pth")
    assert read_weight_file(tmp_path / "x.pth")["w"].tolist() == [1, 1]
    # Of this package, before there were seals.
    torch.save({"model": {}, "metaalign": {"version": 1}}, tmp_path / "old.pth")
    assert read_weight_file(tmp_path / "old.pth")["metaalign"] == {"version": 1}


def test_a_sealed_file_is_a_zip_archive_that_torch_reads_by_itself(tmp_path):
    write(tmp_path / "x.pth")
    with zipfile.ZipFile(tmp_path / "x.pth") as archive:
        assert archive.testzip() is None
    for mmap in (False, True):
        content = torch.load(tmp_path / "x.pth", weights_only=True, mmap=mmap)
        assert content["metaalign"]["iteration"] == 3
