"""Whole trainings from a config: interruption, command line, several processes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from metaalign_det.cli.__main__ import main
from metaalign_det.data import check_data, register_all
from metaalign_det.data.catalog import detection
from metaalign_det.data.catalog.reading import read_once
from metaalign_det.engine.trainer import AdaptationTrainer, check_batches
from metaalign_det.errors import UserError
from tests.data.trees import make_tiny_voc
from tests.processes import run
from tests.tiny import tiny_cfg

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return make_tiny_voc(tmp_path_factory.mktemp("datasets"))


@pytest.fixture(autouse=True)
def _datasets(datasets, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))


def training_cfg(output, *opts):
    cfg = tiny_cfg(
        "DATASETS.TRAIN", ("voc6_2007_trainval", "voc6_2012_trainval"),
        "DATASETS.TARGET", ("watercolor_train",),
        "DATASETS.TEST", (),
        "MODEL.ROI_HEADS.NUM_CLASSES", 6,
        "INPUT.MIN_SIZE_TRAIN", (64, 80), "INPUT.MIN_SIZE_TEST", 64,
        "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 6, "SOLVER.STEPS", (4,),
        "SOLVER.CHECKPOINT_PERIOD", 1, "SOLVER.WARMUP_ITERS", 2,
        "SOLVER.DISCRIMINATOR.OPTIMIZER", "ADAM",
        "DATALOADER.NUM_WORKERS", 0,
        "METAALIGN.ENABLED", True, "METAALIGN.BETA.LR", 5.0,
        "OUTPUT_DIR", str(output), *opts,
    )  # fmt: skip
    register_all(cfg)
    return cfg


class Interruption(Exception):
    pass


def train(cfg, resume=False, stop_at=None):
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=resume)
    if stop_at is not None:
        step = trainer.run_step

        def interrupted():
            if trainer.iter == stop_at:
                raise Interruption
            step()

        trainer.run_step = interrupted
    trainer.train()
    return trainer


def everything(trainer):
    """All that a checkpoint holds, as one flat dict of comparable things."""
    out = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for k, v in value.items():
                walk(f"{prefix}/{k}", v)
        elif isinstance(value, list | tuple):
            for i, v in enumerate(value):
                walk(f"{prefix}/{i}", v)
        else:
            out[prefix] = value

    walk("model", trainer.model.state_dict())
    walk("trainer", trainer.state_dict())
    return out


@pytest.mark.parametrize(
    "opts, seed",
    [
        ((), 3),
        ((), -1),
        (("METAALIGN.ENABLED", False), 3),
        (("MODEL.CHANNELS_LAST", True), 3),
        (("METAALIGN.ORDER", "exact", "METAALIGN.HVP", "recompute", "METAALIGN.ROLE", "task"), 3),
    ],
    ids=["first-alternate", "unseeded", "plain", "channels-last", "exact-recompute-task"],
)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, opts, seed):
    cfg = training_cfg(tmp_path / "a", "MODEL.RESNETS.NORM", "BN", "SEED", seed, *opts)
    torch.manual_seed(1)
    with pytest.raises(Interruption):
        train(cfg, stop_at=3)
    torch.manual_seed(77)  # whatever happens between
    torch.rand(5)
    resumed = everything(train(cfg, resume=True))
    drawn = resumed["trainer/_trainer/seed"]
    whole_cfg = training_cfg(tmp_path / "b", "MODEL.RESNETS.NORM", "BN", "SEED", drawn, *opts)
    torch.manual_seed(1)
    whole = everything(train(whole_cfg))
    assert resumed.keys() == whole.keys()
    for key, value in whole.items():
        same = torch.equal(value, resumed[key]) if torch.is_tensor(value) else value == resumed[key]
        assert same, key


def test_an_interrupted_training_saves_the_step_it_was_in_and_continues_from_it(tmp_path):
    cfg = training_cfg(tmp_path / "a", "SOLVER.CHECKPOINT_PERIOD", 100)
    torch.manual_seed(1)
    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=False)
    step = trainer.run_step

    def with_a_signal():
        if trainer.iter == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        step()

    trainer.run_step = with_a_signal
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    resumed = train(cfg, resume=True)
    assert resumed.start_iter == 3
    torch.manual_seed(1)
    whole = train(training_cfg(tmp_path / "b", "SOLVER.CHECKPOINT_PERIOD", 100))
    for (name, a), b in zip(resumed.model.state_dict().items(), whole.model.state_dict().values()):
        assert torch.equal(a, b), name


def test_resuming_a_finished_run_trains_no_further(tmp_path):
    cfg = training_cfg(tmp_path, "SOLVER.MAX_ITER", 2)
    first = everything(train(cfg))
    again = everything(train(cfg, resume=True))
    assert torch.equal(
        first["model/backbone.res3.0.conv1.weight"], again["model/backbone.res3.0.conv1.weight"]
    )


def test_resuming_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(UserError, match="--resume: there is no checkpoint in"):
        train(training_cfg(tmp_path / "nothing"), resume=True)


def test_a_run_reads_each_data_set_once(tmp_path, monkeypatch):
    """Checks, the second derivatives' trial batch, the loader, two evaluations."""
    read = []
    read_voc = detection.read_voc

    def counted(root, split, **kwargs):
        read.append((root.name, split))
        return read_voc(root, split, **kwargs)

    monkeypatch.setattr(detection, "read_voc", counted)
    opts = (
        "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 1, "METAALIGN.ORDER", "exact",
        "DATASETS.TEST", ("watercolor_test",), "TEST.ADAPTIVE_BN", 1,
        "MODEL.RESNETS.NORM", "BN",
    )  # fmt: skip
    cfg = training_cfg(tmp_path, *opts)
    with read_once():
        check_data(cfg)
        train(cfg)
    expected = [("VOC2007", "trainval"), ("VOC2012", "trainval"),
                ("watercolor", "test"), ("watercolor", "train")]  # fmt: skip
    assert sorted(read) == expected
    read.clear()
    train(training_cfg(tmp_path / "without_checks", *opts))
    assert sorted(read) == expected


def test_everything_that_looks_at_the_target_goes_on_without_a_bad_image(
    tmp_path, monkeypatch, caplog
):
    root = make_tiny_voc(tmp_path, images=4)
    monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
    (root / "watercolor" / "JPEGImages" / "000002.jpg").write_bytes(b"broken")
    cfg = training_cfg(
        tmp_path / "run", "DATALOADER.ON_BAD_IMAGE", "skip", "SOLVER.MAX_ITER", 2,
        "SELECTION.ENABLED", True, "VIS.TARGET_IMAGES", 2,
    )  # fmt: skip
    check_data(cfg)
    train(cfg)
    (entry,) = json.loads((tmp_path / "run" / "bad_images.json").read_text())
    assert entry["file"].endswith("000002.jpg") and entry["replaced"] == 0
    assert "1 image(s) could not be read; others took their place 0 time(s)" in caplog.text


TWO_DOMAINS = ("DATASETS.TRAIN_DOMAINS", (0, 1))
MMD = ("MODEL.ALIGN.METHOD", "mmd")


@pytest.mark.parametrize(
    "opts, message",
    [
        (("SOLVER.MAX_ITER", 0), "SOLVER.MAX_ITER must be >= 1, got 0; .* --eval-only"),
        (("SOLVER.ACCUMULATION_STEPS", 3), "SOLVER.ACCUMULATION_STEPS = 3"),
        (("SOLVER.ACCUMULATION_STEPS", 0), "SOLVER.ACCUMULATION_STEPS must be >= 1"),
        # One image of each domain, two micro-batches: each would hold a single domain.
        (
            ("SOLVER.ACCUMULATION_STEPS", 2, *TWO_DOMAINS),
            "IMS_PER_BATCH = 2 cannot be split over 2 source domains, .* a multiple of 4",
        ),
        (("SOLVER.ACCUMULATION_STEPS", 2, *MMD), "at least 2 images of each domain .* leaves 1"),
        (("SOLVER.IMS_PER_BATCH", 1, *MMD), "SOLVER.IMS_PER_BATCH = 1 .* leaves 1"),
        (("SOLVER.IMS_PER_BATCH_TARGET", 1, *MMD), "SOLVER.IMS_PER_BATCH_TARGET = 1 .* leaves 1"),
        (("MODEL.ALIGN.BETWEEN", "domains", *TWO_DOMAINS, *MMD), "leaves 1"),
    ],
)
def test_lengths_and_batches_that_cannot_be_are_named(tmp_path, opts, message):
    with pytest.raises(UserError, match=message):
        AdaptationTrainer(training_cfg(tmp_path, *opts))


def test_another_number_of_workers_scales_both_batches(tmp_path):
    opts = ("SOLVER.REFERENCE_WORLD_SIZE", 2, "SOLVER.IMS_PER_BATCH_TARGET", 6)
    cfg = training_cfg(tmp_path, *opts)
    scaled = AdaptationTrainer.auto_scale_workers(cfg, 4)
    assert (scaled.SOLVER.IMS_PER_BATCH, scaled.SOLVER.IMS_PER_BATCH_TARGET) == (4, 12)
    assert AdaptationTrainer.auto_scale_workers(cfg, 2) is cfg


def test_mmd_between_two_sources_as_one_domain_and_the_target_has_enough(tmp_path):
    check_batches(training_cfg(tmp_path, *TWO_DOMAINS, *MMD))


@pytest.mark.parametrize(
    "opts, message",
    [
        (("DATASETS.TARGET", ()), "aligns source and target, but DATASETS.TARGET is empty"),
        (
            ("MODEL.META_ARCHITECTURE", "GeneralizedRCNN", "MODEL.DA.CONTEXT", False),
            "GeneralizedRCNN cannot be adapted. Choose SWDARCNN",
        ),
    ],
)
def test_a_model_that_cannot_be_trained_here_is_named(tmp_path, opts, message):
    with pytest.raises(UserError, match=message):
        AdaptationTrainer(training_cfg(tmp_path, *opts))


def test_a_loss_that_is_not_finite_ends_training_in_one_sentence(tmp_path, caplog):
    trainer = AdaptationTrainer(training_cfg(tmp_path))
    trainer.resume_or_load(resume=False)
    step = trainer.run_step

    def poisoned():
        if trainer.iter == 1:
            trainer.model.roi_heads.box_predictor.cls_score.bias.data.fill_(float("nan"))
        step()

    trainer.run_step = poisoned
    log = logging.getLogger("detectron2.engine.train_loop")
    log.addHandler(caplog.handler)
    try:
        with pytest.raises(UserError, match="at iteration 1: .*loss_cls = nan"):
            trainer.train()
    finally:
        log.removeHandler(caplog.handler)
    assert not [r for r in caplog.records if r.exc_info], "a traceback in the log"
    assert (tmp_path / "model_0000000.pth").is_file()


# ---- the command line -----------------------------------------------------------------------

TINY = (
    "SOLVER.MAX_ITER", "3", "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TRAIN", "(64,)",
    "INPUT.MIN_SIZE_TEST", "64", "MODEL.DEVICE", "cpu",
    "DATASETS.TRAIN", "('voc6_2007_trainval',)", "DATASETS.TARGET", "('watercolor_train',)",
    "DATASETS.TEST", "('watercolor_test','voc6_2007_test')", "METAALIGN.TELEMETRY_PERIOD", "1",
)  # fmt: skip
CONFIG = str(ROOT / "configs" / "mini" / "swda_meta.yaml")


def command(args):
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


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


@pytest.fixture
def fresh_loggers():
    """Detectron2 keeps its handlers, and with them a test's captured streams, for ever."""
    from detectron2.utils.logger import setup_logger

    names = ("detectron2", "fvcore", "metaalign_det")
    before = {n: list(logging.getLogger(n).handlers) for n in names}
    setup_logger.cache_clear()
    yield
    setup_logger.cache_clear()
    for n in names:
        logging.getLogger(n).handlers = before[n]
        logging.getLogger(n).propagate = True


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


# ---- several processes ----------------------------------------------------------------------


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
