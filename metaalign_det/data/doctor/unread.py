"""Labels and files that no reader understands: what they are, and what to do about them."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ..formats.text_files import read_yaml
from .folders import ENOUGH, head_of, walk_files

#: Suffixes of YAML files.
YAML_SUFFIXES = (".yaml", ".yml")

_FRACTION = rb"[ \t]+(?:[01]?\.\d+(?:[eE]-?\d+)?|[01])"
# Labels that are not read: suffix, what is in the first bytes of a file, what to do.
_UNREAD_LABELS = (
    (".json", re.compile(rb'"shapes"\s*:\s*\['), "labelme's: convert them to COCO or VOC"),
    (".xml", re.compile(rb"<annotations[\s/>]"), "CVAT's own: export COCO, YOLO or VOC there"),
    (".txt", re.compile(rb"\A\s*\d+(?:%b){4,}[ \t]*(?:[\r\n]|\Z)" % _FRACTION),
     "YOLO's: write a data.yaml, with names: and train: (a folder of images)"),
)  # fmt: skip


def unread_labels(path: Path) -> str:
    """A file of labels that is not read, and what to do about it; "" where there is none."""
    # Behind many images nobody would look.
    for folder in (path / "labels", *sorted(path.glob("*/labels")), path):
        for entry in walk_files(folder, ENOUGH):
            suffix = os.path.splitext(entry.name)[1].lower()
            for wanted, pattern, what in _UNREAD_LABELS:
                if suffix == wanted and pattern.search(head_of(entry.path)):
                    return f"{entry.name} looks like {what}"
    return ""


def not_understood(file: Path) -> str:
    """What is wrong with a file that was given instead of a folder."""
    suffix = file.suffix.lower()
    if suffix in YAML_SUFFIXES:
        read_yaml(file, "data file")
        lacking = "names, and a place where train, val or test images are"
        return f"{file} is no data.yaml of a YOLO data set: it must have {lacking}"
    if suffix == ".json":
        return (
            f"{file} is no COCO file, which has images with a file_name, annotations and "
            "categories; was it written by another tool? Export COCO, YOLO or VOC there"
        )
    return f"{file} is a file: give a folder, a COCO JSON or the data.yaml of a YOLO data set"
