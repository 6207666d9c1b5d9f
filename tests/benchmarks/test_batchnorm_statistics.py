"""``python -m benchmarks.batchnorm_statistics``: whose statistics, in which views."""

from __future__ import annotations

import json

import pytest

from benchmarks.batchnorm_statistics import main, table
from metaalign_det.adaptation.adaptive_bn import adapted_batchnorm
from metaalign_det.config import load_cfg
from tests.data.trees import make_tiny_voc
from tests.explain.conftest import write_run

ARGS = (
    "--config-file", "mini/source.yaml", "--target", "watercolor_train",
    "--test", "watercolor_test", "--batches", "1",
)  # fmt: skip
OPTS = (
    "--", "MODEL.WEIGHTS", "", "DATASETS.TRAIN", "('voc6_2007_trainval',)",
    "INPUT.MIN_SIZE_TRAIN", "(64,)", "INPUT.MIN_SIZE_TEST", "64",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(make_tiny_voc(tmp_path, images=8)))
    monkeypatch.chdir(tmp_path)


def test_every_domain_in_every_view_has_a_row_beside_the_weights_own(monkeypatch, capsys):
    seen = []

    def adapted(model, images, batches, forward):
        first = next(images)
        seen.append(("VOC2007" in first[0]["file_name"], batches))
        return adapted_batchnorm(model, iter([first]), batches, forward)

    monkeypatch.setattr("metaalign_det.adaptation.adaptive_bn.adapted_batchnorm", adapted)
    assert main([*ARGS, *OPTS]) == 0
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()]
    views = ["source, weak views", "source, strong views", "target, weak views"]
    assert rows[2:] == ["as they came", *views, "target, strong views"]
    assert seen == [(True, 1), (True, 1), (False, 1), (False, 1)]


def test_runs_of_one_method_are_compared_with_themselves(tmp_path, capsys):
    cfg = load_cfg("mini/source.yaml")
    cfg.merge_from_list([*OPTS[1:], "MODEL.DEVICE", "cpu"])
    for seed in (1, 2):
        cfg.SEED = seed
        write_run(tmp_path / "runs" / str(seed), cfg, seed)
    before = sorted((tmp_path / "runs").rglob("*"))
    assert main(["--runs", "runs", *ARGS[2:], "--of", "target/weak"]) == 0
    printed = capsys.readouterr().out
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    assert [line.split("|")[1].strip() for line in lines[2:]] == [
        "as they came", "target, weak views"
    ]  # fmt: skip
    assert "±" in lines[2] and " to " in lines[3]
    assert sorted((tmp_path / "runs").rglob("*")) == before

    again = ["--runs", "runs", *ARGS[2:], "--of", "target/weak"]
    assert main([*again, "--output", "all.json"]) == 0
    assert list(json.loads((tmp_path / "all.json").read_text())["scores_by_seed"]) == ["1", "2"]
    assert main([*again, "--against", "all.json"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split("|")[-2].strip() == "0.0"  # equal values have no interval
    (tmp_path / "all.json").write_text("[]")
    assert main([*again, "--against", "all.json"]) == 2
    assert "--against all.json: no file that --output has written" in capsys.readouterr().err
    assert main(["--runs", "runs/1", "runs/1", *again[2:]]) == 2


def test_an_unfinished_run_is_refused(tmp_path, capsys):
    cfg = load_cfg("mini/source.yaml")
    cfg.MODEL.DEVICE = "cpu"
    write_run(tmp_path / "run", cfg, names=("model_0000009.pth",))
    assert main(["--runs", "run", *ARGS[2:]]) == 2
    assert "there is no checkpoint model_final.pth" in capsys.readouterr().err


def test_the_difference_is_that_of_each_run():
    first, second = (
        {"as they came": {"test": a}, "target/weak": {"test": b}} for a, b in ((10, 12), (50, 54))
    )
    row = table({3: first, 5: second}).splitlines()[-1].split("|")
    assert row[2].strip() == "33.0 ± 29.7"
    assert row[3].strip() == "+3.0 (-9.7 to +15.7)"  # t with one degree of freedom: 12.7


@pytest.mark.parametrize(
    "opts, message",
    [
        (("--batches", "0"), "--batches must be positive, not 0"),
        ((*OPTS, "MODEL.RESNETS.NORM", "FrozenBN"), "no BatchNorm with running statistics"),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(opts, message, capsys):
    assert main([*ARGS, *opts]) == 2
    assert message in capsys.readouterr().err


def test_the_file_goes_into_a_new_folder(tmp_path, monkeypatch):
    score = {"as they came": {"watercolor_test": 1.0}}
    monkeypatch.setattr("benchmarks.batchnorm_statistics.measure", lambda *_: score)
    assert main([*ARGS, "--output", "new/folder/bn.json", *OPTS]) == 0
    assert (tmp_path / "new" / "folder" / "bn.json").is_file()
