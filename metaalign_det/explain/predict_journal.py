"""Results of the images that ``predict`` has finished: an interrupted call continues from them.

A line of JSON an image, appended when its result is known and its drawing is written; the first
line holds the settings that results depend on. It goes when everything is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import torch
from detectron2.structures import Boxes, Instances

from ..errors import UserError
from .predict import Classification
from .predict_formats import Detections

# What a damaged line may raise; its image is predicted on again. Instances asserts one length.
_DAMAGE = (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AssertionError)

Result: TypeAlias = Instances | Classification


class Journal:
    """A call's journal, and that of an interrupted call before it.

    Args:
        path: of the file.
        settings: what results depend on, by the name of its option: values of JSON.
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        # As they are read back: a tuple is a list then.
        self._settings = json.loads(json.dumps(dict(settings)))
        self._lines: dict[str, dict] = {}
        self._earlier = self._read()

    @property
    def is_there(self) -> bool:
        """Whether an interrupted call left one."""
        return self._earlier is not None

    def require_same_settings(self) -> None:
        """
        Raises:
            UserError: the interrupted call had others; they are named.
        """
        told = self._earlier or {}
        other = [k for k, value in self._settings.items() if told.get(k) != value]
        if other:
            raise UserError(
                f"--output: {self.path.parent} holds an interrupted prediction, and this call has "
                f"another {' and another '.join(other)}: give the same to continue it, another "
                "--output, or --overwrite to start again"
            )

    def begin(self) -> None:
        """Start one, or continue the one that is there, whose last line may be cut off."""
        if not self.path.exists():
            self._append(self._settings)
        elif not self.path.read_bytes().endswith(b"\n"):
            with open(self.path, "a", encoding="ascii") as file:
                file.write("\n")

    def add(
        self, name: str, state: list | None, result: Result, drawing: list[str] | None = None
    ) -> None:
        """Enter a result, which is finished.

        Args:
            name: of the image.
            state: :func:`state_of_file` from before the image was read.
            result: what was found.
            drawing: name and digest of its drawing.
        """
        told: dict[str, Any] = {"image": name, "state": state, "drawing": drawing}
        if isinstance(result, Classification):
            told |= {"scores": result.scores.tolist()}
        else:
            found = Detections.of(name, result)
            told |= {"size": found.size, "boxes": found.boxes}
            told |= {"classes": found.classes, "scores": found.scores}
        self._append(told)

    def result_of(
        self,
        name: str,
        state: list | None,
        class_names: tuple[str, ...],
        drawing: list[str] | None = None,
    ) -> Result | None:
        """What the interrupted call found; None where it did not get there, or something changed.

        Args:
            name, state, drawing: as :meth:`add` would get them now.
            class_names: K names in the order of the model's outputs.
        """
        line = self._lines.get(name)
        try:
            if not line or not state or (line["state"], line["drawing"]) != (state, drawing):
                return None
            return _restored(line, class_names)
        except _DAMAGE:
            return None

    def _append(self, told: Mapping[str, Any]) -> None:
        with open(self.path, "a", encoding="ascii") as file:
            file.write(json.dumps(told) + "\n")

    def _read(self) -> dict | None:
        """Settings; the last line may be cut off, where a call was killed."""
        try:
            first, *lines = self.path.read_bytes().split(b"\n")[:-1]
            settings = json.loads(first)
        except (OSError, ValueError, RecursionError):
            return None
        for line in lines:
            try:
                told = json.loads(line)
                self._lines[told["image"]] = told
            except _DAMAGE:
                continue
        return settings if isinstance(settings, dict) else None


def state_of_file(path: Path) -> list | None:
    """Its path, and what tells whether it was changed: size in bytes, time of change.

    None where it cannot be looked at.
    """
    try:
        told = path.stat()
        return [str(path.resolve()), told.st_size, told.st_mtime_ns]
    except OSError:
        return None


def _restored(line: Mapping[str, Any], class_names: tuple[str, ...]) -> Result:
    as_float = partial(torch.tensor, dtype=torch.float32)
    scores = as_float(line["scores"])
    if "boxes" not in line:
        if scores.shape != (len(class_names),):
            raise ValueError(scores.shape)
        return Classification(scores, class_names)
    width, height = line["size"]
    if not (width > 0 and height > 0):
        raise ValueError(line["size"])
    classes = torch.tensor(line["classes"], dtype=torch.int64)
    if len(classes) and not 0 <= classes.min() <= classes.max() < len(class_names):
        raise ValueError(classes)
    return Instances(
        (height, width),
        pred_boxes=Boxes(as_float(line["boxes"]).reshape(-1, 4)),
        scores=scores,
        pred_classes=classes,
    )
