"""metaalign-det pack-weights: where the file can go, and what is said where it cannot."""

from __future__ import annotations

import pytest
import torch

from metaalign_det.cli.__main__ import main
from metaalign_det.explain.predict import Predictor
from tests.explain.checkpoints import classifier_cfg, save_checkpoint, save_images


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


def test_weights_with_statistics_of_images_predict_as_predict_does(tmp_path):
    cfg = classifier_cfg()
    cfg.MODEL.DIGITS_NET.NORM = "BN"
    run = save_checkpoint(tmp_path / "run", cfg)
    files = save_images(tmp_path / "in", sizes=[(40, 30)] * 4)
    packed = tmp_path / "adapted.safetensors"
    command = ["pack-weights", str(run), str(packed), "--statistics-of", str(tmp_path / "in")]
    assert main(command) == 0
    predictor = Predictor.from_checkpoint(run)
    before = predictor(files[0]).scores
    predictor.adapt_statistics(files)
    assert torch.equal(
        Predictor.from_checkpoint(packed)(files[0]).scores, predictor(files[0]).scores
    )
    assert not torch.allclose(before, predictor(files[0]).scores)


def test_half_precision_that_would_make_infinity_is_refused(tmp_path, capsys):
    weights = {"norm.running_var": torch.tensor([1.0, 7e4]), "norm.count": torch.tensor(3)}
    torch.save({"model": weights}, tmp_path / "model.pth")
    command = ["pack-weights", str(tmp_path / "model.pth"), str(tmp_path / "w.safetensors")]
    assert main([*command, "--half"]) == 2
    assert "norm.running_var has values above 65,504" in capsys.readouterr().err
    assert not (tmp_path / "w.safetensors").exists()
    assert main(command) == 0
