"""A run directory as a config and a model that is ready to be looked into."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from ..config import load_cfg
from ..data import register_all
from ..errors import UserError
from ..modeling.weight_files import peek
from .predict_checkpoint import build_with_weights, choose_device, find_checkpoint, read_checkpoint

_NUMBERED = re.compile(r"model_(\d+)\.pth")
_HASH = re.compile(r"-[0-9a-f]{8,}$")  # what a sweep adds to the folders of its runs


@dataclass(frozen=True)
class RunFolder:
    """A run directory that exists, and the name under which tables and pictures show it.

    Args:
        label: unique among the runs of one command.
        folder: ``OUTPUT_DIR`` of the run.
        cfg: its config, frozen, with the device that is there.
    """

    label: str
    folder: Path
    cfg: CfgNode

    def checkpoint(self, name: str = "") -> Path:
        """The checkpoint ``name``, by default the last one.

        Raises:
            UserError: it is not there; the message lists those that are.
        """
        if not name:
            return find_checkpoint(self.folder)
        path = self.folder / name
        if path.is_file():
            return path
        there = ", ".join(sorted(p.name for p in self.folder.glob("*.pth"))) or "none"
        raise UserError(f"{self.folder}: there is no checkpoint {name}; there: {there}")

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Numbered checkpoints with their iterations done, and the final one, in order.

        Detectron2 numbers them by the last iteration, so ``model_0000049.pth`` is after 50; the
        final one repeats the last number if that was saved too, and is then left out. It says
        itself how far it had come, which in a run that was extended since is not the end.
        """
        found = {
            int(match[1]) + 1: path
            for path in self.folder.glob("model_*.pth")
            if (match := _NUMBERED.fullmatch(path.name))
        }
        final = self.folder / "model_final.pth"
        if final.is_file():
            last = peek(final, "iteration")
            done = last + 1 if type(last) is int and last >= 0 else self.cfg.SOLVER.MAX_ITER
            found.setdefault(done, final)
        if not found:
            self.checkpoint()
        return sorted(found.items())

    def model(self, checkpoint: Path | None = None, trainable: bool = False) -> nn.Module:
        """The model of a checkpoint (default: the last).

        Args:
            checkpoint: its path.
            trainable: in training mode, with gradients of what the config trains; otherwise in
                evaluation mode with all parameters frozen.

        Raises:
            UserError: the file cannot be read, or its weights are not those of the run's config.
        """
        path = self.checkpoint() if checkpoint is None else checkpoint
        model = build_with_weights(self.cfg, read_checkpoint(path)["model"], path)
        return model.train() if trainable else model.eval().requires_grad_(False)


def open_runs(given: Sequence[str]) -> list[RunFolder]:
    """The run directories of a command line.

    Each of ``given`` is ``FOLDER`` or ``LABEL=FOLDER``. A folder that is no run but holds some
    (``output/demo``) stands for all of them that have a checkpoint. Without labels, runs are
    called by the first parts of their paths that tell them apart, and the only run of a folder by
    the folder's name.

    Raises:
        UserError: a folder does not exist or holds no run, or a label comes twice.
    """
    labelled: list[tuple[str, Path]] = []
    for text in given:
        label, folder = _split(text)
        inside = _runs_in(folder)
        if label and len(inside) > 1:
            raise UserError(f"{folder} holds {len(inside)} runs: {label} can be only one of them")
        if len(inside) == 1 and inside[0] != folder:
            label = label or folder.resolve().name
        labelled += [(label, run) for run in inside]
    short = _short_names([folder for _, folder in labelled])
    labels = [label or name for (label, _), name in zip(labelled, short)]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise UserError(f"runs called the same: {', '.join(sorted(twice))}; write LABEL=FOLDER")
    return [RunFolder(name, folder, _config(folder)) for name, (_, folder) in zip(labels, labelled)]


def _split(text: str) -> tuple[str, Path]:
    label, equals, folder = text.partition("=")
    if not equals or Path(text).is_dir():
        return "", Path(text)
    if not label or not folder:
        raise UserError(f"{text!r} is not LABEL=FOLDER")
    return label, Path(folder)


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; `make demo` makes runs in output/demo")
    if (folder / "config.yaml").is_file():
        return [folder]
    found = sorted(p.parent for p in folder.rglob("config.yaml") if any(p.parent.glob("*.pth")))
    if not found:
        raise UserError(
            f"{folder} is no run directory and holds none: a run has a config.yaml and checkpoints"
        )
    return found


def _short_names(folders: Sequence[Path]) -> list[str]:
    """Of each path the first parts that differ from the others', without a sweep's hash."""
    parts = [[_HASH.sub("", p) for p in f.resolve().parts] for f in folders]
    if len(parts) == 1:
        return [parts[0][-1]]
    common = len(os.path.commonprefix(parts))
    for depth in range(common + 1, max(map(len, parts)) + 1):
        names = ["/".join(p[common:depth]) for p in parts]
        if len(set(names)) == len(names):
            return names
    return [str(f) for f in folders]


def _config(folder: Path) -> CfgNode:
    cfg = load_cfg(folder / "config.yaml")
    cfg.MODEL.DEVICE = choose_device(None, cfg.MODEL.DEVICE)
    cfg.freeze()
    register_all(cfg)
    return cfg
