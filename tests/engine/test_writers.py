"""W&B and MLflow get what TensorBoard gets, without a network."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
import types

import numpy as np
import pytest
from detectron2.utils.events import EventStorage

from metaalign_det.config import load_cfg
from metaalign_det.engine import run_folder, session, writers
from metaalign_det.engine.writers import News, build_extra_writers, check_logging, flat_config
from metaalign_det.errors import UserError
from tests.engine.tiny_training import training_cfg


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


# ---- which run it is, with a stand-in for the library ------------------------------------------


class FakeRun:
    def __init__(self, run_id):
        self.id = run_id

    def define_metric(self, *_, **__):
        pass

    log = finish = define_metric


@pytest.fixture
def wandb_runs(monkeypatch):
    """Ids of the runs at a W&B that does nothing, in the order in which they were gone on with."""
    seen = []

    def init(*, id, **_):
        seen.append(id or f"run-{len(seen)}")
        return FakeRun(seen[-1])

    module = types.ModuleType("wandb")
    module.__spec__ = importlib.machinery.ModuleSpec("wandb", None)
    module.init, module.Settings, module.Image = init, dict, np.asarray
    monkeypatch.setitem(sys.modules, "wandb", module)
    return seen


@pytest.fixture
def mlflow_runs(monkeypatch):
    """The same of MLflow."""
    seen = []

    class Client:
        def __init__(self, uri):
            pass

        def update_run(self, run_id, status):
            seen.append(run_id)

        def get_experiment_by_name(self, name):
            return types.SimpleNamespace(experiment_id="0")

        def create_run(self, experiment, run_name):
            seen.append(f"run-{len(seen)}")
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id=seen[-1]))

        def log_batch(self, *_, **__):
            pass

        log_text = log_image = set_terminated = log_batch

    modules = {n: types.ModuleType(n) for n in ("mlflow", "mlflow.entities", "mlflow.tracking")}
    modules["mlflow.entities"].Param = modules["mlflow.entities"].Metric = lambda *_: None
    modules["mlflow.tracking"].MlflowClient = Client
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    return seen


@pytest.mark.parametrize("tracker", ["wandb", "mlflow"])
def test_another_run_in_a_folder_is_kept_in_mind_once_it_has_started(tmp_path, request, tracker):
    seen = request.getfixturevalue(f"{tracker}_runs")
    cfg = load_cfg("", [f"LOGGING.{tracker.upper()}.ENABLED", True, "OUTPUT_DIR", str(tmp_path)])
    kept = tmp_path / f"{tracker}_run_id.txt"
    build_extra_writers(cfg)
    (other,) = build_extra_writers(cfg, anew=True)
    assert seen == ["run-0", "run-1"]
    assert kept.read_text() == "run-0\n"
    other.keep_id()
    assert kept.read_text() == "run-1\n"
    build_extra_writers(cfg)
    assert seen == ["run-0", "run-1", "run-1"]


@pytest.mark.usefixtures("tiny_datasets", "fresh_loggers")
def test_overwrite_is_another_run_at_the_tracker_and_resume_goes_on_with_that(
    tmp_path, monkeypatch, wandb_runs
):
    out = tmp_path / "run"
    cfg = training_cfg(out, "SOLVER.MAX_ITER", 1, "LOGGING.WANDB.ENABLED", True)
    session.train(cfg)
    with monkeypatch.context() as patch:
        patch.setattr(run_folder, "free_bytes", lambda _: 0)
        patch.setattr(run_folder, "run_bytes", lambda _: 0)
        with pytest.raises(UserError, match="two must fit"):
            session.train(cfg, overwrite=True)
    assert (out / "wandb_run_id.txt").read_text() == "run-0\n"
    session.train(cfg, overwrite=True)
    assert (out / "wandb_run_id.txt").read_text() == "run-2\n"
    session.train(cfg, resume=True)
    assert wandb_runs == ["run-0", "run-1", "run-2", "run-2"]
