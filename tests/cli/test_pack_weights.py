"""metaalign-det pack-weights: where the file can go, and what is said where it cannot."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.cli.__main__ import main


@pytest.fixture
def checkpoint(tmp_path):
    torch.save({"model": {"weight": torch.ones(2)}}, tmp_path / "model.pth")
    return str(tmp_path / "model.pth")


def test_the_folder_of_the_file_is_made(tmp_path, checkpoint, capsys):
    output = tmp_path / "new" / "weights.safetensors"
    assert main(["pack-weights", checkpoint, str(output)]) == 0
    assert output.is_file() and "sha256" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "said"),
    [
        ("folder.safetensors", "is a folder: name the file to write"),
        ("file/weights.safetensors", "file: it is there already, and no folder"),
        ("file/deep/weights.safetensors", "a part of the path is a file, not a folder"),
        ("loose/weights.safetensors", "loose: it is there already, and no folder"),
        ("/proc/nobody/weights.safetensors", "its folder is not there and cannot be made"),
    ],
)
def test_a_place_that_cannot_be_is_one_sentence(tmp_path, checkpoint, capsys, output, said):
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loose").symlink_to(tmp_path / "gone" / "away")
    command = ["pack-weights", checkpoint, str(tmp_path / output), "--overwrite"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
