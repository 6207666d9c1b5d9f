"""Weights & Biases and MLflow as Detectron2 event writers, by config key.

They pass on what TensorBoard gets, scalars and pictures, under the same names. Each library is
imported when its key is on, and nowhere else.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.utils.events import EventStorage, EventWriter, get_event_storage

from ..errors import UserError

_WANDB_ID = "wandb_run_id.txt"
_MLFLOW_ID = "mlflow_run_id.txt"
_MODES = ("online", "offline")
_BATCH = 100  # of parameters in a request to MLflow
_LONGEST = 500  # characters of a parameter in MLflow


def check_logging(cfg: CfgNode) -> None:
    """Before long work: the libraries that ``cfg.LOGGING`` asks for are installed.

    Raises:
        UserError: one is missing, or a key has a value that does not exist.
    """
    for key, package, node in (
        ("WANDB", "wandb", cfg.LOGGING.WANDB),
        ("MLFLOW", "mlflow", cfg.LOGGING.MLFLOW),
    ):
        if node.ENABLED and importlib.util.find_spec(package) is None:
            raise UserError(
                f"LOGGING.{key}.ENABLED needs the package {package}: pip install {package} "
                f'(or this package with its extra, "metaalign_det[{package}]")'
            )
    if cfg.LOGGING.WANDB.MODE not in _MODES:
        raise UserError(
            f"LOGGING.WANDB.MODE must be one of {', '.join(_MODES)}, not {cfg.LOGGING.WANDB.MODE!r}"
        )


def build_extra_writers(cfg: CfgNode) -> list[EventWriter]:
    """The writers that ``cfg.LOGGING`` asks for; none by default.

    They go before Detectron2's TensorBoard writer, which takes pictures out of the storage.
    """
    writers: list[EventWriter] = []
    if cfg.LOGGING.WANDB.ENABLED:
        writers.append(WandbWriter(cfg))
    if cfg.LOGGING.MLFLOW.ENABLED:
        writers.append(MLflowWriter(cfg))
    return writers


def forget_tracked_runs(folder: str | Path) -> None:
    """Let the next run in a folder be another one at the trackers, not the same going on."""
    for name in (_WANDB_ID, _MLFLOW_ID):
        (Path(folder) / name).unlink(missing_ok=True)


class News:
    """What has come into the storage since it was last asked.

    Args:
        window: as Detectron2's writers have it: noisy scalars are medians over so many iterations.
    """

    def __init__(self, window: int = 20) -> None:
        self._window = window
        self._last = -1
        self._last_picture = -1

    def scalars(self, storage: EventStorage) -> dict[int, dict[str, float]]:
        """Iteration -> name -> value, in order."""
        found: dict[int, dict[str, float]] = {}
        latest = storage.latest_with_smoothing_hint(self._window)
        for name, (value, iteration) in latest.items():
            if iteration > self._last:
                found.setdefault(iteration, {})[name] = float(value)
        self._last = max([self._last, *found])
        return dict(sorted(found.items()))

    def pictures(self, storage: EventStorage) -> Iterator[tuple[str, np.ndarray, int]]:
        """Name, picture of shape (H, W, 3), uint8, and iteration."""
        # Detectron2 has no public reader of pictures; its own writer reads this list as well.
        fresh = [entry for entry in storage._vis_data if entry[2] > self._last_picture]
        self._last_picture = max([self._last_picture, *(entry[2] for entry in fresh)])
        for name, picture, iteration in fresh:
            yield name, np.asarray(picture).transpose(1, 2, 0), iteration


class WandbWriter(EventWriter):
    """Scalars and pictures to Weights & Biases.

    A resumed run goes on as the same run there: its id is kept in ``OUTPUT_DIR``. Curves are over
    ``iteration``, so that iterations that a resumed run repeats are not refused.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: with ``LOGGING.WANDB``; all of it is recorded as the run's config.
        """
        import wandb

        node = cfg.LOGGING.WANDB
        self._wandb = wandb
        self._run = wandb.init(
            project=node.PROJECT,
            entity=node.ENTITY or None,
            name=node.NAME or None,
            mode=node.MODE,
            dir=cfg.OUTPUT_DIR,
            config=flat_config(cfg),
            id=_read_id(cfg, _WANDB_ID),
            resume="allow",
            settings=wandb.Settings(console="off"),  # log.txt has it
        )
        _keep_id(cfg, _WANDB_ID, self._run.id)
        self._run.define_metric("*", step_metric="iteration")
        self._news = News()

    def write(self) -> None:
        storage = get_event_storage()
        for iteration, values in self._news.scalars(storage).items():
            self._run.log({"iteration": iteration, **values})
        for name, picture, iteration in self._news.pictures(storage):
            self._run.log({"iteration": iteration, name: self._wandb.Image(picture)})

    def close(self) -> None:
        self._run.finish()


class MLflowWriter(EventWriter):
    """Scalars, pictures and the config to MLflow.

    A resumed run goes on as the same run there: its id is kept in ``OUTPUT_DIR``.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """
        Args:
            cfg: with ``LOGGING.MLFLOW``; each of its keys is recorded as a parameter, and all of
                it as the artifact ``config.yaml``.
        """
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        node = cfg.LOGGING.MLFLOW
        self._client = MlflowClient(node.TRACKING_URI or None)
        self._news = News()
        self._run_id = _read_id(cfg, _MLFLOW_ID)
        if self._run_id is not None:
            self._client.update_run(self._run_id, status="RUNNING")
            return
        known = self._client.get_experiment_by_name(node.EXPERIMENT)
        experiment = (
            self._client.create_experiment(node.EXPERIMENT)
            if known is None
            else known.experiment_id
        )
        run = self._client.create_run(experiment, run_name=node.NAME or None)
        self._run_id = run.info.run_id
        _keep_id(cfg, _MLFLOW_ID, self._run_id)
        params = [Param(k, str(v)[:_LONGEST]) for k, v in flat_config(cfg).items()]
        for start in range(0, len(params), _BATCH):
            self._client.log_batch(self._run_id, params=params[start : start + _BATCH])
        self._client.log_text(self._run_id, cfg.dump(), "config.yaml")

    def write(self) -> None:
        from mlflow.entities import Metric

        storage, now = get_event_storage(), int(1000 * time.time())
        for iteration, values in self._news.scalars(storage).items():
            metrics = [Metric(_legal(k), v, now, iteration) for k, v in values.items()]
            self._client.log_batch(self._run_id, metrics=metrics)
        for name, picture, iteration in self._news.pictures(storage):
            file = f"pictures/{_legal(name)}_{iteration:07d}.png"
            self._client.log_image(self._run_id, picture, file)

    def close(self) -> None:
        self._client.set_terminated(self._run_id)


def flat_config(cfg: CfgNode, prefix: str = "") -> dict[str, Any]:
    """All keys of a config with their values, ``SOLVER.BASE_LR`` -> 0.01."""
    flat: dict[str, Any] = {}
    for key, value in cfg.items():
        if isinstance(value, CfgNode):
            flat |= flat_config(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _legal(name: str) -> str:
    """MLflow allows letters, digits and some signs: ``stem+res2`` becomes ``stem-res2``."""
    return re.sub(r"[^A-Za-z0-9_\-. /]", "-", name)


def _read_id(cfg: CfgNode, file: str) -> str | None:
    path = Path(cfg.OUTPUT_DIR) / file
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None


def _keep_id(cfg: CfgNode, file: str, run_id: str) -> None:
    Path(cfg.OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
    (Path(cfg.OUTPUT_DIR) / file).write_text(run_id + "\n", encoding="utf-8")
