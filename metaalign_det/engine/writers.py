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
#: Files in ``OUTPUT_DIR`` by which a resumed run finds itself at the trackers.
RUN_ID_FILES = (_WANDB_ID, _MLFLOW_ID)
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


class TrackingWriter(EventWriter):
    """A writer to a tracker that knows the run by an id.

    A resumed run goes on as the same run there: its id is kept in ``OUTPUT_DIR``.

    Args:
        cfg: of the run.
        anew: it is another run than the one whose id is kept. Its own is not kept before
            :meth:`keep_id`: the earlier run is there until this one has started.
    """

    id_file = ""

    def __init__(self, cfg: CfgNode, *, anew: bool = False) -> None:
        self._id_path = Path(cfg.OUTPUT_DIR) / self.id_file
        self._run_id: str | None = None
        if not anew and self._id_path.is_file():
            self._run_id = self._id_path.read_text(encoding="utf-8").strip()

    def keep_id(self) -> None:
        """Let a later ``--resume`` find the run."""
        if self._run_id is not None:
            self._id_path.parent.mkdir(parents=True, exist_ok=True)
            self._id_path.write_text(self._run_id + "\n", encoding="utf-8")


def build_extra_writers(cfg: CfgNode, *, anew: bool = False) -> list[TrackingWriter]:
    """The writers that ``cfg.LOGGING`` asks for; none by default.

    They go before Detectron2's TensorBoard writer, which takes pictures out of the storage.

    Args:
        cfg: of the run.
        anew: see :class:`TrackingWriter`.
    """
    writers: list[TrackingWriter] = []
    if cfg.LOGGING.WANDB.ENABLED:
        writers.append(WandbWriter(cfg, anew=anew))
    if cfg.LOGGING.MLFLOW.ENABLED:
        writers.append(MLflowWriter(cfg, anew=anew))
    return writers


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


class WandbWriter(TrackingWriter):
    """Scalars and pictures to Weights & Biases.

    Curves are over ``iteration``, so that iterations that a resumed run repeats are not refused.
    """

    id_file = _WANDB_ID

    def __init__(self, cfg: CfgNode, *, anew: bool = False) -> None:
        """
        Args:
            cfg: with ``LOGGING.WANDB``; all of it is recorded as the run's config.
            anew: see :class:`TrackingWriter`.
        """
        import wandb

        super().__init__(cfg, anew=anew)
        node = cfg.LOGGING.WANDB
        self._wandb = wandb
        self._run = wandb.init(
            project=node.PROJECT,
            entity=node.ENTITY or None,
            name=node.NAME or None,
            mode=node.MODE,
            dir=cfg.OUTPUT_DIR,
            config=flat_config(cfg),
            id=self._run_id,
            resume="allow",
            settings=wandb.Settings(console="off"),  # log.txt has it
        )
        self._run_id = self._run.id
        if not anew:
            self.keep_id()
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


class MLflowWriter(TrackingWriter):
    """Scalars, pictures and the config to MLflow."""

    id_file = _MLFLOW_ID

    def __init__(self, cfg: CfgNode, *, anew: bool = False) -> None:
        """
        Args:
            cfg: with ``LOGGING.MLFLOW``; each of its keys is recorded as a parameter, and all of
                it as the artifact ``config.yaml``.
            anew: see :class:`TrackingWriter`.
        """
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        super().__init__(cfg, anew=anew)
        node = cfg.LOGGING.MLFLOW
        self._client = MlflowClient(node.TRACKING_URI or None)
        self._news = News()
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
        if not anew:
            self.keep_id()
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
