"""Checkpoints that survive what ends a run, and are checked before a run goes on from them.

A checkpoint is Detectron2's (``model``, ``trainer``, ``iteration``) with one more entry:

    "metaalign": {
        "version": 2,
        "iteration": the last finished iteration,
        "settings": hash of the settings that may not change (resume_settings.py),
        "config": the whole config as YAML text,
        "classes": names of the classes, in the order of the model's outputs,
        "processes": how many trained it,
    }

It is written to a temporary file, flushed to the disk and renamed, and then ``last_checkpoint``
in the same way, so that a name always stands for a whole file. Checksums cover all of it, and
reading compares them: a single flipped bit is found wherever it is.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm
from torch import nn

from ..data.catalog.classes import run_classes
from ..errors import UserError
from ..files import early_writeback, replaced_file, sync_folder, write_text
from ..modeling.checksums import SEALED_VERSION, seal_archive
from ..modeling.weight_files import read_weight_file, weights_in, write_safetensors
from .checkpoint_files import PERIODIC_NAME, PLAIN_NAME, choose_newest, named_last
from .faults import explained_fault
from .processes import decided_by_the_first
from .resume_settings import check_settings, settings_hash

logger = logging.getLogger(__name__)

_FINAL = "model_final"


class DurableCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer; what it writes is whole, and what it reads is checked data.

    Args:
        model: to save and load.
        save_dir: folder of the checkpoints; "" saves none.
        cfg: of the run, kept in each checkpoint and compared when it goes on. None for a
            checkpointer that only loads weights.
        save_to_disk: default: in the first process.
        checkpointables: further objects with ``state_dict`` and ``load_state_dict``.

    Raises:
        UserError: ``SOLVER.CHECKPOINT_KEEP`` is negative.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        cfg: CfgNode | None = None,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.cfg = cfg
        self.keep = 0 if cfg is None else cfg.SOLVER.CHECKPOINT_KEEP
        if self.keep < 0:
            raise UserError(
                f"SOLVER.CHECKPOINT_KEEP must be >= 0, got {self.keep}; 0 keeps all checkpoints"
            )
        self._about = {} if cfg is None else describe_run(cfg)

    # ---- saving ------------------------------------------------------------------------------

    def save(self, name: str, **kwargs: Any) -> None:
        """Write a checkpoint ``<name>.pth`` and then ``last_checkpoint``, each in one step.

        With ``SOLVER.CHECKPOINT_KEEP`` = K, all but the last K of the numbered ones up to this
        one are removed afterwards.

        Args:
            name: without ``.pth``.
            kwargs: more to save, such as ``iteration``.

        Raises:
            UserError: it cannot be written; says what is the last good one.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data: dict[str, Any] = {"model": self.model.state_dict()}
        for key, obj in self.checkpointables.items():
            data[key] = _plain_state(obj.state_dict())
        data |= _plain_state(kwargs)
        if self._about:
            data["metaalign"] = {**self._about, "iteration": int(kwargs.get("iteration", -1))}
        path = Path(self.save_dir) / f"{name}.pth"
        if not PLAIN_NAME.fullmatch(path.name):
            raise ValueError(f"a checkpoint cannot be called {path.name!r}")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with replaced_file(path) as file:
                with early_writeback(file.fileno()):
                    torch.save(data, file.name)  # by its name: without Python in between
                seal_archive(file.name)
            self.tag_last_checkpoint(path.name)
            self._remove_old(path.name)
            if name == _FINAL and self.cfg is not None and self.cfg.SOLVER.CHECKPOINT_SAFETENSORS:
                about = data.get("metaalign", {})
                write_safetensors(self.model, path.with_suffix(".safetensors"), about)
        # torch hides the OSError of a write behind a RuntimeError of its own.
        except (OSError, RuntimeError) as error:
            reason = explained_fault(error, self.save_dir)
            if reason is None:
                raise
            last = named_last(Path(self.save_dir))
            kept = "there is no checkpoint yet"
            if last is not None:
                kept = f"the last good checkpoint is {last}"
            elif not Path(self.save_dir).is_dir():
                kept = "what was saved before is where the folder is"
            raise UserError(
                f"{path} could not be written: {reason}; {kept}. Then continue with --resume"
            ) from error

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write ``last_checkpoint``, in one step."""
        write_text(Path(self.save_dir) / "last_checkpoint", last_filename_basename)

    def _remove_old(self, name: str) -> None:
        newest = PERIODIC_NAME.fullmatch(name)
        if self.keep <= 0 or newest is None:
            return
        folder = Path(self.save_dir)
        numbers = {
            int(found[1]): file
            for file in os.listdir(folder)
            # Later ones are damaged: the run went on from before them.
            if (found := PERIODIC_NAME.fullmatch(file)) and int(found[1]) <= int(newest[1])
        }
        for number in sorted(numbers)[: -self.keep]:
            (folder / numbers[number]).unlink(missing_ok=True)
        sync_folder(folder)

    # ---- loading -----------------------------------------------------------------------------

    def resume(self) -> int:
        """Go on from the newest checkpoint in ``save_dir`` that reads and verifies.

        Says so in the log if that is not the last one, and which changed settings take effect.
        To be called by all processes.

        Returns:
            int: the last iteration that is done.

        Raises:
            UserError: there is none; it was trained with other settings or another model; or its
                training state does not fit. Nothing in the folder is changed.
        """
        path, content = self._newest()
        saved = content["metaalign"]
        if self.cfg is not None:
            for change in check_settings(saved, self.cfg, path):
                logger.info("--resume: from here on %s", change)
        if saved.get("processes") != comm.get_world_size():
            logger.warning(
                "%s was trained by %s processes and goes on with %d: the images of a step are "
                "dealt out anew",
                path,
                saved.get("processes"),
                comm.get_world_size(),
            )
        self._load_exactly(weights_in(content, path), path)
        for key, obj in self.checkpointables.items():
            self.logger.info("Loading %s from %s ...", key, path)
            try:
                obj.load_state_dict(content[key])
            except UserError:
                raise
            # What is missing or of another shape shows as any of these, by whose state it is.
            except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as e:
                raise UserError(
                    f"--resume: the state of the {key} in {path} does not fit this run "
                    f"({type(e).__name__}: {e}); start a new run from its weights with "
                    "MODEL.WEIGHTS"
                ) from e
        return saved["iteration"]

    def evaluate_last(self) -> tuple[dict[str, Any], str]:
        """Load the weights alone of the newest checkpoint that reads and verifies.

        Returns:
            tuple: what it says of its run (:func:`describe_run`), and its path.

        Raises:
            UserError: there is none, or it is of another model.
        """
        path, content = self._newest()
        self._load_exactly(weights_in(content, path), path)
        return content["metaalign"], path

    def is_whole(self, name: str, iteration: int) -> bool:
        """Whether ``<name>.pth`` is there, undamaged, and of this iteration."""
        try:
            content = read_weight_file(Path(self.save_dir) / f"{name}.pth")
        except UserError:
            return False
        return content.get("iteration") == iteration

    def _newest(self) -> tuple[str, dict[str, Any]]:
        """Path and content of the newest checkpoint of a run in the folder that is whole."""
        read: dict[str, dict[str, Any]] = {}  # by the first process, which need not do so again

        def choose() -> str:
            path, content = choose_newest(self.save_dir)
            read[path] = content
            return path

        path = decided_by_the_first(choose)
        return path, read[path] if path in read else read_weight_file(path)

    def _load_exactly(self, weights: dict[str, torch.Tensor], path: str) -> None:
        own = self.model.state_dict()
        for name in sorted({*own, *weights}):
            theirs = tuple(weights[name].shape) if name in weights else "nothing"
            mine = tuple(own[name].shape) if name in own else "nothing"
            if theirs != mine:
                raise UserError(
                    f"--resume: {path} is of another model: {name} has shape {theirs} there and "
                    f"{mine} here; set the MODEL keys back, or load what fits of it with "
                    "MODEL.WEIGHTS"
                )
        self.model.load_state_dict(weights)

    def _load_file(self, filename: str) -> dict[str, Any]:
        """Read a file by Detectron2's rules for formats, without its way of reading pickles.

        ``file.pth?of=teacher`` has the average of the weights (``EMA``) in place of the student's.
        """
        content = read_weight_file(filename)
        if filename.endswith(".pkl") and not ("model" in content and "__author__" in content):
            blobs = content.get("blobs", content)  # Caffe2: detection models have "blobs"
            weights = {k: v for k, v in blobs.items() if not str(k).endswith("_momentum")}
            content = {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}
        elif filename.endswith(".pyth"):  # pycls
            state = content.get("model_state", {})
            weights = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
            content = {"model": weights, "__author__": "pycls", "matching_heuristics": True}
        elif "model" not in content:
            content = {"model": content}
        queries = parse_qs(self._parsed_url_during_load.query)
        if queries.pop("matching_heuristics", None) == ["True"]:
            content["matching_heuristics"] = True
        if queries.pop("of", ["student"]) == ["teacher"]:
            if "teacher" not in content:
                raise UserError(
                    f"MODEL.WEIGHTS: {filename} has no teacher: it was trained without EMA.ENABLED"
                )
            content["model"] = content["teacher"]["model"]
        if queries:
            raise UserError(f"MODEL.WEIGHTS: {filename}: unknown options {sorted(queries)}")
        return {**content, "model": weights_in(content, filename)}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        incompatible = super()._load_model(checkpoint)
        if len(incompatible.missing_keys) >= len(self.model.state_dict()):
            raise UserError(
                "MODEL.WEIGHTS: no weight of the file fits this model by name and shape; check "
                "MODEL.META_ARCHITECTURE and MODEL.BACKBONE"
            )
        return incompatible


def describe_run(cfg: CfgNode) -> dict[str, Any]:
    """What a checkpoint says of its run, but for the iteration: plain data."""
    return {
        "version": SEALED_VERSION,
        "settings": settings_hash(cfg),
        "config": cfg.dump(),
        "classes": class_names(cfg),
        "processes": comm.get_world_size(),
    }


def class_names(cfg: CfgNode) -> list[str]:
    """Names of the classes of the run (``DATASETS.CLASSES``), in the order of the model's outputs.

    Returns:
        list: empty where the data sets are not registered, or declare none.
    """
    names = (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)
    if not names or any(name not in DatasetCatalog for name in names):
        return []
    return list(run_classes(cfg) or ())


def _plain_state(value: Any) -> Any:
    """A state without numpy's scalars, which a checkpoint could be saved with but not read."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {k: _plain_state(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)([_plain_state(v) for v in value])
    return value
