"""Data that were found in a folder, and the names that splits go by."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import UserError

#: Names that splits go by, the usual one first.
TRAIN, VAL, TEST = ("train", "trainval", "training"), ("val", "valid", "validation"), ("test",)
#: The one split of data that are not split.
ALL = "all"

# What to do where it is not clear which split is meant; {} = what it should be called.
_CHOOSING = {
    "voc": "call the list in ImageSets/Main that is meant {}.txt",
    "coco": "give the JSON file that is meant instead of the folder",
    "yolo": "name the folder that is meant as {} in its data.yaml",
    "folder": "give the folder that is meant instead of the one around it",
    "cityscapes": "give the folder of the split that is meant, below leftImg8bit",
}


@dataclass(frozen=True)
class FoundData:
    """Data in a folder.

    Attributes:
        root: the folder.
        format: of ``DATASETS.REGISTER``: voc, coco, yolo, cityscapes, kitti, folder or images.
        splits: name of the split -> the other keys of its entry in ``DATASETS.REGISTER``.
        why: what it was recognised by, a sentence.
        images: folder of its images, where there are other pictures in ``root``.
    """

    root: Path
    format: str
    splits: dict[str, dict[str, Any]]
    why: str
    images: Path | None = None

    @property
    def kind(self) -> str:
        """Either "detection", "classification", or "images" where there are no labels."""
        kinds = {"folder": "classification", "images": "images"}
        return kinds.get(self.format, "detection")

    def split(self, *wanted: str) -> str | None:
        """The first split of these names that there is, in capitals or not."""
        named = {name.lower(): name for name in self.splits} | {name: name for name in self.splits}
        return next((named[name] for name in wanted if name in named), None)

    def choose(self, *wanted: str) -> str:
        """The same, or all there is.

        Raises:
            UserError: several splits, and none of these names.
        """
        split = self.split(*wanted, ALL)
        if split is None and len(self.splits) > 1:
            lists = self.format != "voc" or all(e["SPLIT"] for e in self.splits.values())
            remedy = _CHOOSING[self.format if lists else "folder"]
            raise UserError(
                f"{self.root} has the splits {', '.join(self.splits)}, and none is called "
                f"{wanted[0]}: {remedy.format(wanted[0])}"
            )
        return split or next(iter(self.splits))

    def entry(self, split: str, name: str) -> dict[str, Any]:
        """The entry of ``DATASETS.REGISTER`` that registers a split under a name."""
        return {"NAME": name, "FORMAT": self.format, **self.splits[split]}


def is_split(name: str) -> bool:
    """Whether a name is one that splits go by, in capitals or not."""
    return name.lower() in (*TRAIN, *VAL, *TEST)


def are_splits(names: Sequence[str]) -> bool:
    """Whether folders of images are splits rather than classes, one of which may be a train."""
    splits = sum(is_split(name.rstrip("0123456789-_ ")) for name in names)
    return (splits > 1 and 2 * splits >= len(names)) or (splits == 1 and len(names) < 3)


def split_in(name: str) -> str:
    """train, val or test where a file name says so (instances_train2017), else the name itself."""
    words = re.findall(r"[a-z]+", name.lower())
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        if any(word in names for word in words):
            return split
    return ALL
