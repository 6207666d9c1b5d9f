"""``metaalign-det train`` as it is typed: what it prints, its mistakes, several processes."""

from __future__ import annotations

import json
import os

import pytest
import torch
from PIL import Image

from metaalign_det.cli.__main__ import main
from tests.data.trees import make_tiny_voc
from tests.engine.tiny_training import CONFIG, ROOT, TINY, command, train, training_cfg
from tests.processes import run

pytestmark = pytest.mark.usefixtures("tiny_datasets")


@pytest.mark.usefixtures("fresh_loggers")
def test_what_is_wrong_with_the_data_is_said_before_anything_long(tmp_path, monkeypatch, capfd):
    root = make_tiny_voc(tmp_path, images=2, trees=("VOC2007", "watercolor"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    images = sorted((root / "watercolor" / "JPEGImages").iterdir())
    Image.new("RGB", (8000, 1)).save(images[0])
    opts = (*TINY, "DATASETS.TEST", "()", "OUTPUT_DIR", str(tmp_path / "run"))
    assert main(["train", "--config-file", CONFIG, *opts]) == 2
    out, err = capfd.readouterr()
    assert "Running with full config" not in out + err and len(out.splitlines()) < 5
    assert err.splitlines()[-1].startswith("error: 1 image(s) cannot be resized")
    assert f"{images[0]}: 8000x1" in err
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.usefixtures("fresh_loggers")
@pytest.mark.parametrize(
    "key, value, message",
    [
        ("MODEL.WEIGHTS", "no.pth", "no.pth cannot be read: it is damaged, or no checkpoint"),
        ("MODEL.WEIGHTS", "gone.pth", "there is no file gone.pth"),
        ("MODEL.DEVICE", "gpu", "MODEL.DEVICE 'gpu' is none: say cpu"),
        ("ADAPTATION.COORDINATOR", "pcgrd", "did you mean 'pcgrad'"),
        ("SELECTION.VALIDATOR", "fiss", "did you mean 'fis'"),
        ("MODEL.BACKBONE.NAME", "build_mini_resnet", "did you mean 'build_mini_resnet_backbone'"),
        ("SOLVER.MAX_ITERS", "5", "did you mean 'SOLVER.MAX_ITER'"),
    ],
)
def test_a_mistake_in_the_settings_is_the_last_line_of_few(
    tmp_path, monkeypatch, capfd, key, value, message
):
    root = make_tiny_voc(tmp_path, images=2, trees=("VOC2007", "watercolor"))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no.pth").write_text("not a checkpoint")
    opts = (*TINY, "OUTPUT_DIR", "run", "SELECTION.ENABLED", "True", key, value)
    assert main(["train", "--config-file", CONFIG, *opts]) == 2
    out, err = capfd.readouterr()
    assert err.splitlines()[-1].startswith("error: ") and message in err.splitlines()[-1]
    assert "Running with full config" not in out + err and "Model:" not in out + err
    assert len((out + err).splitlines()) < 50
    assert not (tmp_path / "run" / "config.yaml").exists()


@pytest.mark.usefixtures("fresh_loggers")
def test_data_that_are_missing_are_said_before_weights_are_downloaded(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    opts = (*TINY, "MODEL.WEIGHTS", "detectron2://gone.pkl", "OUTPUT_DIR", str(tmp_path / "run"))
    assert main(["train", "--config-file", CONFIG, *opts]) == 2
    last = capfd.readouterr().err
    assert "VOC2007" in last and "does not exist. Expected:" in last and "download" not in last


@pytest.mark.usefixtures("fresh_loggers")
def test_train_and_evaluate_from_the_command_line(tmp_path):
    out = tmp_path / "run"
    opts = (*TINY, "OUTPUT_DIR", str(out))
    done = command([str(ROOT / "tools" / "train_net.py"), "--config-file", CONFIG, *opts])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "DeprecationWarning" not in done.stderr + done.stdout
    assert "Warning: " not in done.stderr + done.stdout, "third-party warnings reach the user"
    rows = [json.loads(line) for line in (out / "metrics.json").read_text().splitlines()]
    recorded = {k: v for row in rows for k, v in row.items()}
    assert {"lookahead/cosine/alignment/res3", "da/local_acc_target", "loss_cls"} <= set(recorded)
    score = recorded["watercolor_test/voc/AP50_11pt"]
    assert (out / "model_final.pth").is_file()
    weights = str(out / "model_final.pth")
    assert (
        main(["train", "--config-file", CONFIG, "--eval-only", *opts, "MODEL.WEIGHTS", weights])
        == 0
    )
    report = json.loads(next(out.glob("inference/watercolor_test/voc_*.json")).read_text())
    assert score == pytest.approx(report["results"]["AP50_11pt"], nan_ok=True)


@pytest.mark.usefixtures("fresh_loggers")
@pytest.mark.parametrize(
    "args, message",
    [
        (["--config-file", "nowhere.yaml"], "there is no config file 'nowhere.yaml'"),
        (["--config-file", CONFIG, "SOLVER.MAX_ITR", "3"], "did you mean 'SOLVER.MAX_ITER'"),
        (["--config-file", CONFIG, "MODEL.BACKBONE.NAME", "mini"], "MODEL.BACKBONE.NAME 'mini'"),
        (["--config-file", CONFIG, *TINY, "METAALIGN.ROLE", "both"], "METAALIGN.ROLE 'both'"),
        (["--config-file", CONFIG, *TINY, "MODEL.WEIGHTS", "no/such.pth"], "no/such.pth"),
        (
            ["--config-file", CONFIG, "--eval-only", "--resume", *TINY],
            "--resume: there is no checkpoint in",
        ),
        (
            ["--config-file", CONFIG, *TINY, "DATASETS.TARGET", "('clipart_train',)"],
            "clipart",
        ),
    ],
    ids=["config", "key", "backbone", "role", "weights", "resume", "data"],
)
def test_a_users_mistake_is_one_sentence_without_a_traceback(tmp_path, capsys, args, message):
    opts = ["OUTPUT_DIR", str(tmp_path)] if "nowhere.yaml" not in args else []
    assert main(["train", *args, *opts]) == 2
    stderr = capsys.readouterr().err
    assert message in stderr
    assert "Traceback" not in stderr


def train_in_one_of_two(rank, datasets, output):
    os.environ["DETECTRON2_DATASETS"] = datasets
    ends = []
    for order in ("first", "exact"):
        cfg = training_cfg(f"{output}/{order}", "SOLVER.MAX_ITER", 2, "METAALIGN.ORDER", order)
        torch.manual_seed(rank)  # processes start from different weights and must not stay so
        trainer = train(cfg)
        # BatchNorm statistics are each process's own, as in any Detectron2 training.
        params = {k: v.detach().numpy() for k, v in trainer.model.named_parameters()}
        ends.append((params, trainer._trainer.gradient_source.weights.values()))
    return ends


def test_two_processes_end_with_the_same_weights_and_beta(tmp_path, datasets):
    args = (str(datasets), str(tmp_path / "out"))
    results = run(train_in_one_of_two, *args, store=tmp_path / "store", timeout=120)
    assert [r[1] for r in results] == ["ok", "ok"], results
    for (params_a, beta_a), (params_b, beta_b) in zip(results[0][2], results[1][2]):
        assert beta_a == beta_b != [1.0, 1.0, 1.0]
        assert all((params_a[k] == params_b[k]).all() for k in params_a)


@pytest.mark.parametrize("launcher", ["detectron2", "torchrun"])
def test_two_processes_from_the_command_line(tmp_path, launcher):
    opts = (*TINY, "OUTPUT_DIR", str(tmp_path), "SOLVER.MAX_ITER", "2", "DATASETS.TEST", "()")
    script = [str(ROOT / "tools" / "train_net.py"), "--config-file", CONFIG]
    if launcher == "torchrun":
        how = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        done = command([*how, *script, *opts])
    else:
        done = command([*script, "--num-gpus", "2", "--dist-url", "auto", *opts])
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "model_final.pth").is_file()
    assert "World size: 2" in done.stdout
