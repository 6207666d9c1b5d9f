"""What kind of data a folder holds, and how to register it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ..formats.image_files import is_image_name

#: Names that splits go by, the usual one first.
TRAIN, VAL, TEST = ("train", "trainval", "training"), ("val", "valid", "validation"), ("test",)
#: The one split of data that are not split.
ALL = "all"

_COCO_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*"((?:[^"\\]|\\.)*)"')
_BLOCK = 2**20  # bytes of a JSON looked at at a time
_ENOUGH = 2000  # entries of a folder that are looked at before it is called a folder of images


@dataclass(frozen=True)
class FoundData:
    """Data in a folder.

    Attributes:
        root: the folder.
        format: of ``DATASETS.REGISTER``: voc, coco, yolo, folder or images.
        splits: name of the split -> the other keys of its entry in ``DATASETS.REGISTER``.
        why: what it was recognised by, a sentence.
    """

    root: Path
    format: str
    splits: dict[str, dict[str, Any]]
    why: str

    @property
    def kind(self) -> str:
        """Either "detection", "classification", or "images" where there are no labels."""
        kinds = {"folder": "classification", "images": "images"}
        return kinds.get(self.format, "detection")

    def split(self, *wanted: str) -> str | None:
        """The first split of these names that there is."""
        return next((name for name in wanted if name in self.splits), None)

    def entry(self, split: str, name: str) -> dict[str, Any]:
        """The entry of ``DATASETS.REGISTER`` that registers a split under a name."""
        return {"NAME": name, "FORMAT": self.format, **self.splits[split]}


def detect(folder: str | Path) -> FoundData:
    """Look at a folder and recognise one of the formats, the more particular first.

    Args:
        folder: of one data set; or a COCO JSON, or the data.yaml of a YOLO data set.

    Raises:
        UserError: it does not exist, or holds no image.
    """
    path = Path(folder).expanduser().absolute()
    path = path.resolve() if ".." in path.parts else path
    if not path.exists():
        raise UserError(f"{path} does not exist")
    for recognise in (_yolo, _coco, _voc, _class_folders, _images):
        if found := recognise(path):
            return found
    raise UserError(f"{path}: no image in it or below it")


def _yolo(path: Path) -> FoundData | None:
    files = [path] if path.suffix in (".yaml", ".yml") else sorted(path.glob("*.y*ml"))
    for file in files:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        if not isinstance(content, dict) or "names" not in content:
            continue
        names = [key for key in ("train", "val", "test") if content.get(key)]
        if names:
            entry = {"ROOT": str(file.parent)}
            if file.name != "data.yaml":
                entry["DATA_YAML"] = file.name
            splits = {name: {**entry, "SPLIT": name} for name in names}
            return FoundData(file.parent, "yolo", splits, f"{file.name} lists names and splits")
    return None


def _coco(path: Path) -> FoundData | None:
    if path.is_file():
        files = [path] if path.suffix == ".json" else []
    else:
        files = [*sorted(path.glob("*.json")), *sorted(path.glob("*/*.json"))]
    splits: dict[str, dict[str, Any]] = {}
    for file in files:
        name = _first_image_of_coco(file)
        if name is None:
            continue
        root = _root_of(name, file, path if path.is_dir() else path.parent)
        if root is not None:
            entry = {"ROOT": str(root), "JSON_FILE": str(file)}
            folder = "" if file.parent in (path, path.parent) else file.parent.name
            splits.setdefault(_split_in(f"{folder}/{file.stem}"), entry)
    if not splits:
        return None
    first = next(iter(splits.values()))
    return FoundData(
        path if path.is_dir() else path.parent,
        "coco",
        splits,
        f"{Path(first['JSON_FILE']).name} has images, annotations and categories",
    )


def _first_image_of_coco(file: Path) -> str | None:
    """``file_name`` of an image in a COCO JSON; None for any other JSON. Reads, parses nothing."""
    missing, name, tail = set(_COCO_KEYS), None, b""
    try:
        with open(file, "rb") as stream:
            while (missing or name is None) and (block := stream.read(_BLOCK)):
                text = tail + block
                missing -= {key for key in missing if key in text}
                if name is None and (match := _FILE_NAME.search(text)):
                    name = match[1]
                tail = text[-1024:]
    except OSError:
        return None
    if missing or name is None:
        return None
    return name.decode("utf-8", errors="replace").replace("\\/", "/")


def _root_of(image: str, json_file: Path, top: Path) -> Path | None:
    """The folder that file names in a COCO JSON start from: the first in which one is found."""
    stem = json_file.stem.removeprefix("instances_")
    near = [top, json_file.parent]
    places = [p / s for s in ("", "images", stem, f"images/{stem}", "JPEGImages") for p in near]
    places += [Path(e.path) for e in _entries(top) if e.is_dir()]
    return next((p for p in places if (p / image).is_file()), None)


def _voc(path: Path) -> FoundData | None:
    if not path.is_dir():
        return None
    lists = path / "ImageSets" / "Main"
    if (path / "JPEGImages").is_dir() and lists.is_dir():
        names = [file.stem for file in sorted(lists.glob("*.txt"))]
        # aeroplane_train and its like are the splits once more, class by class.
        plain = [n for n in names if not (n.rpartition("_")[0] and n.rpartition("_")[2] in names)]
        labelled = (path / "Annotations").is_dir()
        splits: dict[str, dict[str, Any]] = {
            n: {"ROOT": str(path), "SPLIT": n, **({} if labelled else {"LABELLED": False})}
            for n in plain
        }
        if splits:
            return FoundData(path, "voc", splits, "JPEGImages and ImageSets/Main are in it")
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    if any(_is_voc_xml(entry) for entry in _walk(folder, _ENOUGH)):
        entry = {"ROOT": str(path), "SPLIT": None}
        return FoundData(path, "voc", {ALL: entry}, "there are VOC's XML files in it")
    return None


def _is_voc_xml(entry: os.DirEntry) -> bool:
    if not entry.name.lower().endswith(".xml"):
        return False
    try:
        with open(entry.path, "rb") as stream:
            return b"<annotation" in stream.read(4096)
    except OSError:
        return False


def _class_folders(path: Path) -> FoundData | None:
    """Folders of images and no image beside them; or the same below train, val, test."""
    if not path.is_dir() or _has_images(path):
        return None
    below = [Path(e.path) for e in _entries(path) if e.is_dir()]
    splits = {}
    for folder in below:
        if folder.name.lower() in (*TRAIN, *VAL, *TEST) and _classes(folder):
            splits[folder.name] = {"ROOT": str(folder)}
    if splits:
        return FoundData(path, "folder", splits, f"{', '.join(splits)} hold a folder per class")
    if _classes(path):
        why = f"{len(_classes(path))} folders of images are in it, one per class"
        return FoundData(path, "folder", {ALL: {"ROOT": str(path)}}, why)
    return None


def _classes(folder: Path) -> list[str]:
    """Names of the folders that hold images, if there are two and no image beside them."""
    names = [e.name for e in _entries(folder) if e.is_dir() and _has_images(Path(e.path))]
    return names if len(names) > 1 and not _has_images(folder) else []


def _images(path: Path) -> FoundData | None:
    if path.is_dir() and any(is_image_name(entry.name) for entry in _walk(path)):
        return FoundData(
            path, "images", {ALL: {"ROOT": str(path)}}, "there are images in it, and no labels"
        )
    return None


def _has_images(folder: Path) -> bool:
    return any(is_image_name(entry.name) for entry in _entries(folder) if entry.is_file())


def _entries(folder: Path) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except OSError:
        return []


def _walk(folder: Path, most: int | None = None) -> Iterator[os.DirEntry]:
    """Files in a folder and below, breadth first; at most so many."""
    folders, seen = [folder], 0
    for current in folders:
        for entry in _entries(current):
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
                continue
            yield entry
            seen += 1
            if seen == most:
                return


def _split_in(name: str) -> str:
    """train, val or test where a file name says so (instances_train2017), else the name itself."""
    words = re.findall(r"[a-z]+", name.lower())
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        if any(word in names for word in words):
            return split
    return ALL
