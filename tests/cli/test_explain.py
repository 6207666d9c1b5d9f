from __future__ import annotations

import argparse
import json

import pytest
from PIL import Image

from metaalign_det.cli import explain as cli
from metaalign_det.cli.__main__ import main
from metaalign_det.errors import UserError
from metaalign_det.explain.attention import METHODS
from metaalign_det.explain.attention_report import attention_report
from metaalign_det.explain.gradients_report import ALPHAS
from tests.explain.conftest import *  # noqa: F403  (its fixtures)


def parser():
    one = argparse.ArgumentParser()
    cli.add_arguments(one)
    return one


@pytest.fixture
def explain(run_folders, datasets, tmp_path):
    """Run a command on the tiny runs; the folder it wrote and its exit code."""

    def command(name, *args, output="out", runs=""):
        folder = tmp_path / output
        argv = [name, str(run_folders / runs), "--output", str(folder), *args]
        args = parser().parse_args(argv)
        args.command_line = "metaalign-det explain"
        return folder, cli.run(args)

    return command


def test_attention_writes_pictures_and_numbers_of_all_runs(explain, capsys):
    folder, code = explain("attention", "--images", "4", "--show", "2")
    assert code == 0
    assert {p.name for p in folder.iterdir()} == {
        "attention.jpg", "attention_focus.png", "attention.json", "attention.md",
    }  # fmt: skip
    assert Image.open(folder / "attention.jpg").width > 200
    found = json.loads((folder / "attention.json").read_text())
    assert found["settings"]["data"] == "watercolor_test"
    assert set(found["runs"]) == {"source", "swda", "swda_meta"}
    assert set(found["runs"]["source"]) == {"task"}
    focus = found["runs"]["swda"]["local"]["gradient"]["focus"]
    assert focus["low"] <= focus["value"] <= focus["high"]
    assert found["minus_first"]["swda_meta"]["global"]["layercam"]["low"] is not None
    assert "metaalign-det" in (folder / "attention.md").read_text()
    assert "reading 3 runs" in capsys.readouterr().out


def test_runs_that_see_images_at_different_sizes_are_drawn_together(
    run_folders, datasets, tmp_path
):
    runs = [str(run_folders / "runs" / "swda")]
    large = detector_cfg("INPUT.MAX_SIZE_TEST", 100)  # noqa: F405
    large.INPUT.MIN_SIZE_TEST = 80
    runs.append(str(write_run(tmp_path / "large", large)))  # noqa: F405
    found = attention_report(runs, tmp_path / "out", images=2, show=2)
    assert "attention.jpg" in found.files


def test_equal_seeds_write_equal_files(explain):
    folders = [
        explain("attention", "--images", "3", "--show", "1", "--seed", "5", output=name)[0]
        for name in ("a", "b")
    ]
    for name in ("attention.jpg", "attention_focus.png", "attention.json"):
        assert len({(f / name).read_bytes() for f in folders}) == 1, name


def test_attention_on_a_folder_draws_without_boxes(explain, datasets):
    photos = datasets / "watercolor" / "JPEGImages"
    folder, code = explain("attention", "--data", str(photos), "--images", "2", "--show", "2")
    assert code == 0
    assert not (folder / "attention_focus.png").exists()
    found = json.loads((folder / "attention.json").read_text())
    assert 0 <= found["runs"]["swda"]["global"]["layercam"]["overlap_with_task"] <= 1


def test_features_writes_embeddings_and_numbers(explain, monkeypatch):
    monkeypatch.setattr("metaalign_det.explain.separation._PERMUTATIONS", 5)
    monkeypatch.setattr("metaalign_det.explain.separation._REFITS", 2)
    folder, code = explain("features", "--images", "10", "--points", "12", runs="runs/swda")
    assert code == 0
    assert {p.name for p in folder.iterdir()} == {
        "image_pca.png", "image_tsne.png", "object_pca.png", "object_tsne.png", "separation.png",
        "features.json", "features.md",
    }  # fmt: skip
    found = json.loads((folder / "features.json").read_text())
    assert set(found["levels"]) == {"image", "object"}
    number = found["levels"]["object"]["swda"]["nearest_class"]
    assert 0 <= number["value"] <= 1
    assert number["chance_low"] <= number["chance"] <= number["chance_high"]


def test_gradients_leaves_out_runs_that_align_nothing(explain, capsys):
    args = ("--batches", "2", "--alphas", "-0.1", "--over-training")
    folder, code = explain("gradients", *args)
    assert code == 0
    assert "left out, without alignment: source" in capsys.readouterr().out
    found = json.loads((folder / "gradients.json").read_text())["checkpoints"]
    assert [(c["run"], c["iteration"]) for c in found] == [
        ("swda", 5), ("swda", 100), ("swda_meta", 5), ("swda_meta", 100),
    ]  # fmt: skip
    assert set(found[0]["along"]) == {"-0.1"}
    assert (folder / "gradients_training.png").is_file()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("attention", "--objectives", "locl"), "no locl here; there: task"),
        (("attention", "--images", "-1"), "--images"),
        (("attention", "--layer", "backbone.res9"), "no module"),
        (("attention", "--checkpoint", "model_7.pth"), "no checkpoint model_7.pth"),
        (("features", "--source", "nowhere"), "no data set 'nowhere'"),
        (("gradients", "--batches", "1"), "--batches"),
    ],
)
def test_mistakes_are_said_in_a_sentence(explain, args, message):
    name, *options = args
    if name == "attention" and "--images" not in options:
        options += ["--images", "1", "--show", "1"]
    with pytest.raises(UserError, match=message):
        explain(name, *options)


def test_an_earlier_result_is_kept(explain, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "gradients.json").write_text("mine")
    with pytest.raises(UserError, match="--overwrite"):
        explain("gradients")
    assert (tmp_path / "out" / "gradients.json").read_text() == "mine"


@pytest.mark.parametrize("name", ["attention", "features", "gradients"])
def test_help_has_an_example_on_the_demo(name, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args([name, "--help"])
    text = capsys.readouterr().out
    assert f"metaalign-det explain {name} output/demo" in text
    assert "Writes" in text and "Reads" in text


def test_what_help_offers_is_what_there_is():
    given = parser().parse_args(["attention", "run", "--method", METHODS[0]])
    assert given.method == METHODS[0]
    assert parser().parse_args(["gradients", "run"]).alphas == ALPHAS
    with pytest.raises(SystemExit):
        parser().parse_args(["attention", "run", "--method", "lime"])


def test_it_is_a_command_whose_mistakes_exit_with_2(capsys, tmp_path):
    argv = ["explain", "gradients", str(tmp_path / "none"), "--output", str(tmp_path / "out")]
    assert main(argv) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
