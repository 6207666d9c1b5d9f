"""What a checkpoint says about itself: config, class names, weights; the data need not be here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from detectron2.modeling import build_model
from torch import nn

from .. import data, modeling  # noqa: F401  (both register by name)
from ..config import add_metaalign_config
from ..config_files import parse_yaml
from ..data.catalog.classes import run_classes
from ..engine.checkpoint_files import named_last
from ..errors import UserError
from ..modeling.model_kind import is_classifier
from ..modeling.weight_files import read_weight_file

logger = logging.getLogger(__name__)

#: The entry of a checkpoint that holds its "config" (YAML) and its "classes" (names).
ENTRY = "metaalign"


@dataclass(frozen=True)
class TrainedModel:
    """A checkpoint that has been read.

    Args:
        path: of the file.
        cfg: its config, not frozen; ``MODEL.WEIGHTS`` is "".
        class_names: K names in the order of the model's outputs.
        weights: parameters and buffers by name, on the CPU.
    """

    path: Path
    cfg: CfgNode
    class_names: tuple[str, ...]
    weights: dict[str, Any]

    @property
    def kind(self) -> str:
        """Either "classification" or "detection"."""
        return "classification" if is_classifier(self.cfg) else "detection"

    def build(self, device: str | None = None) -> nn.Module:
        """The model with its weights, in evaluation mode.

        Args:
            device: as ``MODEL.DEVICE``; default: the config's where it exists, else the CPU.

        Raises:
            UserError: there is no such device, or the weights are not those of the config.
        """
        cfg = self.cfg.clone()
        cfg.MODEL.DEVICE = choose_device(device, cfg.MODEL.DEVICE)
        return build_with_weights(cfg, self.weights, self.path).eval()


def build_with_weights(cfg: CfgNode, weights: Mapping[str, Any], path: Path) -> nn.Module:
    """The model of a config with all the weights of a checkpoint, none missing and none left.

    Args:
        cfg: says what to build, and on which device.
        weights: parameters and buffers by name.
        path: where they come from, for the message.

    Raises:
        UserError: they are not those of the config.
    """
    model = build_model(cfg)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise UserError(
            f"{path} does not fit its own config: {' '.join(lines[1:2]).strip()}"
        ) from error
    return model


def open_checkpoint(path: str | Path, *, teacher: bool = False) -> TrainedModel:
    """Read a checkpoint, or the last one of a run directory.

    Config and class names come from the checkpoint; where it carries none, from the
    ``config.yaml`` beside it and from the data set that it names, if that is registered.

    Args:
        path: a ``.pth`` or ``.safetensors`` file, or an ``OUTPUT_DIR``. To use the checkpoint that
            was selected without labels, name its file, ``model_selected.pth``.
        teacher: the average of the weights that a training with ``EMA.ENABLED`` keeps, instead of
            the weights themselves.

    Raises:
        UserError: there is no checkpoint, it is none of this package or of Detectron2, no config
            can be found for it, its model is not registered, or it has no teacher.
    """
    file = find_checkpoint(path)
    content = read_checkpoint(file)
    told = _told(content, file)
    beside = file.parent / "config.yaml"
    if "config" in told:
        cfg = _load_config(told["config"], file)
    elif beside.is_file():
        cfg = _load_config(beside.read_bytes(), beside)
    else:
        raise UserError(
            f"{file} carries no config, and there is no config.yaml beside it: put the one of its "
            "training into the same folder"
        )
    cfg.MODEL.WEIGHTS = ""
    names = told.get("classes") or _registered_names(cfg)
    try:
        count = _num_classes(cfg)
    except UserError as error:
        raise UserError(f"{file}: {error}") from error
    if not names:
        logger.warning("%s does not say what its classes are called: they get numbers", file)
        names = [f"class {k}" for k in range(count)]
    if len(names) != count:
        raise UserError(f"{file} names {len(names)} classes, but its model has {count}")
    weights = _teacher(content, file) if teacher else content["model"]
    return TrainedModel(file, cfg, tuple(names), weights)


def find_checkpoint(path: str | Path) -> Path:
    """The file itself, or the last checkpoint of a run directory.

    That is the one that ``last_checkpoint`` names, or where it is not there ``model_final.pth``,
    which a run that was extended and then interrupted has from before.

    Raises:
        UserError: there is none; those that are there are listed.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise UserError(f"there is no checkpoint and no run directory {str(path)!r}")
    for name in (named_last(path), "model_final.pth"):
        if name and (path / name).is_file():
            return path / name
    others = sorted(p.name for p in path.glob("*.pth"))
    hint = f"; name one of {', '.join(others)}" if others else ""
    raise UserError(f"the folder {path} has no model_final.pth and no last checkpoint{hint}")


def read_checkpoint(file: Path) -> dict[str, Any]:
    """A checkpoint of a training: "model" is its state dict, other entries may be missing.

    Raises:
        UserError: it cannot be read, or is none.
    """
    content = read_weight_file(file)
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        raise UserError(
            f"{file} is not a checkpoint of a training (it has no entry 'model'): give the "
            "model_*.pth of a run"
        )
    return content


def _told(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """What the checkpoint says of its training; {} where another program wrote it."""
    told = content.get(ENTRY) or {}
    if not isinstance(told, dict) or not isinstance(told.get("config", ""), str):
        raise UserError(f"{file} does not say how it was trained: its entry {ENTRY!r} is damaged")
    names = told.get("classes") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{file} does not say what its classes are called: the names are damaged")
    return told


def _teacher(content: dict[str, Any], file: Path) -> dict[str, Any]:
    teacher = content.get("teacher")
    weights = teacher.get("model") if isinstance(teacher, dict) else None
    if not isinstance(weights, dict):
        raise UserError(f"{file} has no teacher: it was trained without EMA.ENABLED")
    return weights


def _load_config(text: str | bytes, where: Path) -> CfgNode:
    tree = parse_yaml(text, f"the config of {where}")
    if not isinstance(tree, dict):
        raise UserError(f"the config of {where} is no mapping of keys to values")
    cfg = get_cfg()
    add_metaalign_config(cfg)
    # A key that another version had is no reason not to predict: the network's keys do not vary.
    cfg.set_new_allowed(True)
    try:
        cfg.merge_from_other_cfg(CfgNode(tree))
    except (KeyError, ValueError, AssertionError, TypeError) as error:
        raise UserError(f"the config of {where} cannot be used: {_first(error)}") from error
    cfg.set_new_allowed(False)
    return cfg


def _num_classes(cfg: CfgNode) -> int:
    if is_classifier(cfg):
        return cfg.MODEL.CLASSIFIER.NUM_CLASSES
    if cfg.MODEL.META_ARCHITECTURE == "RetinaNet":
        return cfg.MODEL.RETINANET.NUM_CLASSES
    return cfg.MODEL.ROI_HEADS.NUM_CLASSES


def _registered_names(cfg: CfgNode) -> list[str]:
    """Names by the data sets of the config; [] where they are not registered or not on disk."""
    if not cfg.DATASETS.TRAIN or any(name not in DatasetCatalog for name in cfg.DATASETS.TRAIN):
        return []
    cfg = cfg.clone()
    cfg.DATASETS.TEST = cfg.DATASETS.TARGET = ()
    try:
        return list(run_classes(cfg) or ())
    except UserError:
        return []


def choose_device(wanted: str | None, configured: str) -> str:
    """The device that is wanted; without a wish the configured one where it is here, else the CPU.

    Raises:
        UserError: the wanted one is not here.
    """
    fault = _device_fault(wanted or configured)
    if wanted is None:
        return "cpu" if fault else configured
    if fault:
        raise UserError(f"device {wanted!r}: {fault}; use cpu")
    return wanted


def _device_fault(name: str) -> str | None:
    """Why a device cannot be used here, None if it can."""
    if name.startswith("cuda") and not torch.cuda.is_available():
        return "there is no CUDA device here"
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        return _first(error)
    return None


def _first(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:500]
