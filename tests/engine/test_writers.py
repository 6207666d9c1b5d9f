"""W&B and MLflow get what TensorBoard gets, without a network."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from detectron2.utils.events import EventStorage

from metaalign_det.config import load_cfg
from metaalign_det.engine import writers
from metaalign_det.engine.writers import News, build_extra_writers, check_logging, flat_config
from metaalign_det.errors import UserError


def write_two_steps(writer):
    """Two iterations with a scalar each, and a picture at the second."""
    with EventStorage(0) as storage:
        for i in range(2):
            storage.iter = i
            storage.put_scalar("lookahead/beta/stem+res2", 1.0 + i, smoothing_hint=False)
            if i == 1:
                storage.put_image("target/0", np.full((3, 8, 8), 255, np.uint8))
            writer.write()
        writer.write()  # nothing new
    writer.close()


class Recorder(writers.EventWriter):
    """Keeps what a writer would pass on."""

    def __init__(self):
        self.news, self.seen, self.pictures = News(), [], []

    def write(self):
        storage = writers.get_event_storage()
        self.seen += self.news.scalars(storage).items()
        self.pictures += [(n, p.shape, i) for n, p, i in self.news.pictures(storage)]


def test_everything_is_passed_on_once():
    recorder = Recorder()
    write_two_steps(recorder)
    assert recorder.seen == [
        (0, {"lookahead/beta/stem+res2": 1.0}),
        (1, {"lookahead/beta/stem+res2": 2.0}),
    ]
    assert recorder.pictures == [("target/0", (8, 8, 3), 1)]


def test_by_default_there_are_none():
    assert build_extra_writers(load_cfg()) == []


@pytest.mark.parametrize("package", ["wandb", "mlflow"])
def test_a_missing_package_is_told_before_the_training(package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    cfg = load_cfg("", [f"LOGGING.{package.upper()}.ENABLED", True])
    with pytest.raises(UserError, match=f"needs the package {package}: pip install {package}"):
        check_logging(cfg)
    check_logging(load_cfg())


def test_a_mode_that_does_not_exist_is_named():
    with pytest.raises(UserError, match="LOGGING.WANDB.MODE must be one of online, offline, not"):
        check_logging(load_cfg("", ["LOGGING.WANDB.MODE", "disabled"]))


def test_a_config_is_flat_for_their_tables():
    flat = flat_config(load_cfg("", ["SOLVER.BASE_LR", 0.125]))
    assert flat["SOLVER.BASE_LR"] == 0.125
    assert flat["LOGGING.WANDB.MODE"] == "online"


def test_wandb_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    opts = ["LOGGING.WANDB.ENABLED", True, "LOGGING.WANDB.MODE", "offline"]
    cfg = load_cfg("", [*opts, "OUTPUT_DIR", str(tmp_path)])
    (writer,) = build_extra_writers(cfg)
    run_id = (tmp_path / "wandb_run_id.txt").read_text().strip()
    write_two_steps(writer)
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    assert run_id in folder.name
    assert list(folder.glob("run-*.wandb"))[0].stat().st_size > 0
    assert list((folder / "files" / "media" / "images").rglob("*.png"))
    # Resumed, it is the same run.
    (again,) = build_extra_writers(cfg)
    again.close()
    assert (tmp_path / "wandb_run_id.txt").read_text().strip() == run_id


def test_mlflow_in_a_database(tmp_path):
    mlflow = pytest.importorskip("mlflow")
    if importlib.util.find_spec("sqlalchemy") is None:
        pytest.skip("mlflow without its database")
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    opts = ["LOGGING.MLFLOW.ENABLED", True, "LOGGING.MLFLOW.TRACKING_URI", uri]
    cfg = load_cfg("", [*opts, "LOGGING.MLFLOW.NAME", "first", "OUTPUT_DIR", str(tmp_path)])
    client = mlflow.tracking.MlflowClient(uri)
    client.create_experiment("metaalign_det", str(tmp_path / "artifacts"))
    (writer,) = build_extra_writers(cfg)
    write_two_steps(writer)
    run_id = (tmp_path / "mlflow_run_id.txt").read_text().strip()
    history = client.get_metric_history(run_id, "lookahead/beta/stem-res2")
    assert [(m.step, m.value) for m in history] == [(0, 1.0), (1, 2.0)]
    run = client.get_run(run_id)
    assert run.data.params["LOGGING.MLFLOW.NAME"] == "first"
    assert run.info.run_name == "first"
    assert run.info.status == "FINISHED"
    pictures = client.list_artifacts(run_id, "pictures/target")
    assert [a.path for a in pictures] == ["pictures/target/0_0000001.png"]
    # Resumed, it is the same run.
    (again,) = build_extra_writers(cfg)
    again.close()
    assert (tmp_path / "mlflow_run_id.txt").read_text().strip() == run_id
