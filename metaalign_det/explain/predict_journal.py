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
from .predict_inputs import InputFile

#: Name of the file in the folder of predictions.
JOURNAL = ".predict_results.jsonl"

# What a damaged line may raise; its image is predicted on again. Instances asserts one length.
_DAMAGE = (
    *(ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, AssertionError),
    OSError,
)

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
        if told.keys() - self._settings:
            other.append("version of predict")
        if other:
            raise UserError(
                f"--output: {self.path.parent} holds an interrupted prediction, and this call has "
                f"another {' and another '.join(other)}: give the same to continue it, or "
                "--overwrite to start again"
            )

    def begin(self) -> None:
        """Start one, where there is none to continue."""
        if not self.path.exists():
            self._append(self._settings)

    def add(self, file: InputFile, result: Result) -> None:
        """Enter a result, which is finished."""
        told = {"image": file.name, "state": _state(file.path)}
        if isinstance(result, Classification):
            told |= {"scores": result.scores.tolist()}
        else:
            found = Detections.of(file.name, result)
            told |= {"size": found.size, "boxes": found.boxes}
            told |= {"classes": found.classes, "scores": found.scores}
        self._append(told)

    def result_of(self, file: InputFile, class_names: tuple[str, ...]) -> Result | None:
        """What the interrupted call found; None where it did not get there, or the file is another.

        Args:
            file: an image.
            class_names: K names in the order of the model's outputs.
        """
        line = self._lines.get(file.name)
        try:
            if line is None or line["state"] != _state(file.path):
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


def state_of_file(path: Path) -> list:
    """Its path, and what tells whether it was changed: size in bytes and time of change."""
    return [str(path.resolve()), *_state(path)]


def _state(path: Path) -> list[int]:
    told = path.stat()
    return [told.st_size, told.st_mtime_ns]


def _restored(line: Mapping[str, Any], class_names: tuple[str, ...]) -> Result:
    as_float = partial(torch.tensor, dtype=torch.float32)
    scores = as_float(line["scores"])
    if "boxes" not in line:
        if scores.shape != (len(class_names),):
            raise ValueError(scores.shape)
        return Classification(scores, class_names)
    width, height = line["size"]
    classes = torch.tensor(line["classes"], dtype=torch.int64)
    if len(classes) and not 0 <= classes.min() <= classes.max() < len(class_names):
        raise ValueError(classes)
    return Instances(
        (height, width),
        pred_boxes=Boxes(as_float(line["boxes"]).reshape(-1, 4)),
        scores=scores,
        pred_classes=classes,
    )
