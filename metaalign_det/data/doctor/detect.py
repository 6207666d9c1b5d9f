"""What kind of data a folder holds, and how to register it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ..formats.image_files import is_folder
from ..formats.paths import on_disk, show
from ..formats.text_files import read_lines, read_yaml
from ..formats.voc import is_class_wise
from ..formats.yolo import has_split
from .folders import ENOUGH, entries_of, has_images, head_of, holds_images, walk_files
from .unread import YAML_SUFFIXES, not_understood, unread_labels

#: Names that splits go by, the usual one first.
TRAIN, VAL, TEST = ("train", "trainval", "training"), ("val", "valid", "validation"), ("test",)
#: The one split of data that are not split.
ALL = "all"

_COCO_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_OF_IMAGES = ("image", "images", "img", "imgs", "frames")  # words in names of their folders
_OTHER_ANNOTATIONS = ("person_keypoints", "stuff", "panoptic", "captions")
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*"((?:[^"\\]|\\.)*)"')
# What to do where it is not clear which split is meant; {} = what it should be called.
_CHOOSING = {
    "voc": "call the list in ImageSets/Main that is meant {}.txt",
    "coco": "give the JSON file that is meant instead of the folder",
    "yolo": "name the folder that is meant as {} in its data.yaml",
    "folder": "give the folder that is meant instead of the one around it",
}
_BLOCK = 2**20  # bytes of a JSON looked at at a time
_LOOKED_FOR = 20  # images of a JSON that are looked for on the disk
_NULLS = ("null", "~")  # in YAML: nothing
_VOC_ROOT = re.compile(rb"<annotation[\s/>]")  # not CVAT's <annotations>


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


def detect(folder: str | Path) -> FoundData:
    """Look at a folder and recognise one of the formats, the more particular first.

    Args:
        folder: of one data set; or a COCO JSON, or the data.yaml of a YOLO data set.

    Raises:
        UserError: it does not exist, or holds no image.
    """
    path = Path(os.path.expanduser(folder)).absolute()
    path = path.resolve() if ".." in path.parts else path
    if not path.exists():
        raise UserError(f"{path} does not exist")
    for recognise in (_yolo, _coco, _voc, _class_folders, _images):
        if found := recognise(path):
            return found
    if path.is_file():
        raise UserError(not_understood(path))
    raise UserError(f"{path}: no image in it or below it")


def is_data_yaml(path: str | Path) -> bool:
    """Whether a file is the data.yaml of a YOLO data set, whatever it is called."""
    return _yolo(Path(os.path.expanduser(path)).absolute()) is not None


def _yolo(path: Path) -> FoundData | None:
    files = [path] if path.suffix.lower() in YAML_SUFFIXES else sorted(path.glob("*.y*ml"))
    for file in files:
        try:
            content = yaml.load(file.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            if file.name.lower() in ("data.yaml", "data.yml") and file.is_file():
                read_yaml(file, "data file")  # says what is wrong, where labels would be missed
            continue
        if not isinstance(content, dict) or "names" not in content:
            continue
        splits = ("train", "val", "test")
        listed = [name for name in splits if content.get(name) and content[name] not in _NULLS]
        there = [n for n in listed if n == "train" or has_split(content, file, file.parent, n)]
        if names := there or listed:
            entry = {"ROOT": str(file.parent)}
            if file.name != "data.yaml":
                entry["DATA_YAML"] = file.name
            why = f"{file.name} lists names and splits"
            if lost := [f"{n}: {show(content[n])}" for n in listed if n not in names]:
                why += f", but nothing is at its {', '.join(lost)}"
            entries = {name: {**entry, "SPLIT": name} for name in names}
            return FoundData(file.parent, "yolo", entries, why)
    return None


def _coco(path: Path) -> FoundData | None:
    top = path if path.is_dir() else path.parent
    roots: dict[Path, Path] = {}
    for file in _json_files(path):
        names = _some_images_of_coco(file)
        root = _root_of(names, file, top)
        if root is None and file == path and not holds_images(top):
            # As published: annotations/instances_train.json, and images beside annotations.
            root = _root_of(names, file, top.parent)
            top = top if root is None else top.parent
        if root is not None:
            roots[file] = root
        elif names and file == path:
            raise UserError(f"{path}: the images that it names are not there: {show(names[0])}")
    if not roots:
        return None
    splits = {
        name: {"ROOT": str(roots[file]), "JSON_FILE": str(file)}
        for name, file in _coco_splits(list(roots), top).items()
    }
    first = next(iter(splits.values()))
    why = f"{Path(first['JSON_FILE']).name} has images, annotations and categories"
    return FoundData(top, "coco", splits, why)


def _json_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix.lower() == ".json" else []
    return [*sorted(path.glob("*.json")), *sorted(path.glob("*/*.json"))]


def _coco_splits(files: list[Path], top: Path) -> dict[str, Path]:
    """Name of a split -> its file. Of files that say the same split, each is one by itself.

    But for COCO's other annotations of the same images: ``person_keypoints_train2017.json`` is left
    out beside ``instances_train2017.json``.
    """
    groups: dict[str, list[Path]] = {}
    for file in files:
        split = _split_in(f"{_folder_below(file, top)}/{file.stem}")
        groups.setdefault(split, []).append(file)
    stems = Counter(file.stem for file in files)
    splits = {}
    for split, group in groups.items():
        if any(f.stem.startswith("instances") for f in group):
            group = [f for f in group if not f.stem.startswith(_OTHER_ANNOTATIONS)]
        for file in group:
            stem = file.stem if stems[file.stem] == 1 else f"{file.parent.name}_{file.stem}"
            splits[split if len(group) == 1 else stem] = file
    return splits


def _some_images_of_coco(file: Path) -> list[str]:
    """Some ``file_name`` in a COCO JSON; none of any other JSON. Reads, parses nothing."""
    missing, tail = set(_COCO_KEYS), b""
    names: list[bytes] = []
    try:
        with open(file, "rb") as stream:
            while (missing or not names) and (block := stream.read(_BLOCK)):
                text = tail + block
                missing -= {key for key in missing if key in text}
                names = names or _FILE_NAME.findall(text)
                tail = text[-1024:]
    except OSError:
        return []
    if missing:
        return []
    # From all over the block: files that are not there are likely to be neighbours.
    return [_unescaped(name) for name in names[:: len(names) // _LOOKED_FOR + 1]]


def _unescaped(name: bytes) -> str:
    try:
        return json.loads(b'"%b"' % name)
    except ValueError:  # which the reader will explain
        return name.decode("utf-8", errors="replace")


def _root_of(images: Sequence[str], json_file: Path, top: Path) -> Path | None:
    """The folder that file names in a COCO JSON start from: that in which most are found.

    Images of several splits may have the same names, as frames that are numbered: a folder that is
    called after the JSON or its split goes before the others then.

    Raises:
        UserError: several folders have all that are found, and none is called after the JSON.
    """
    if not images:
        return None
    stem = json_file.stem.removeprefix("instances_")
    near = [top, json_file.parent]
    places = [p / s for s in ("", "images", stem, f"images/{stem}", "JPEGImages") for p in near]
    usual = len(places)
    for folder in (top, top / "images"):
        places += [Path(e.path) for e in entries_of(folder) if is_folder(e)]
    found = [sum(os.path.isfile(on_disk(p / image, p)) for image in images) for p in places]
    if not any(found):
        return None
    alike = [n for n, p in enumerate(places) if found[n] and _called_alike(p, json_file, top)]
    best = max(alike or range(len(places)), key=lambda n: (found[n], -n))
    equal = {os.path.realpath(p): p for n, p in enumerate(places) if found[n] == found[best]}
    if not alike and best >= usual and len(equal) > 1:
        names = " and ".join(map(str, equal.values()))
        raise UserError(
            f"{json_file}: images of the names in it are in {names}: call the folder that is "
            f"meant {stem}, or register the data with it as ROOT"
        )
    return places[best]


def _called_alike(folder: Path, json_file: Path, top: Path) -> bool:
    """Whether a folder is called after a JSON or its split: ``val`` of ``annotations_val.json``."""
    if folder in (top, top / "images", top / "JPEGImages"):
        return False
    words, of_json = _words(folder.name), _words(json_file.stem)
    split = _split_in(folder.name)
    if split == ALL:
        return bool(words) and words <= of_json
    # But not train_masks, whose files are called like the images.
    others = {w for w in words if not _is_split(w.rstrip("0123456789")) and w not in _OF_IMAGES}
    same = split == _split_in(f"{_folder_below(json_file, top)}/{json_file.stem}")
    return same and others <= of_json


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.lower()))


def _folder_below(file: Path, top: Path) -> str:
    return "" if file.parent == top else file.parent.name


def _voc(path: Path) -> FoundData | None:
    if not path.is_dir():
        return None
    lists = path / "ImageSets" / "Main"
    if (path / "JPEGImages").is_dir() and lists.is_dir():
        files = sorted(f for f in lists.glob("*.txt") if not f.name.startswith("."))
        names = [file.stem for file in files]
        plain = [n for n in names if not _is_class_list(n, names, lists)]
        labelled = (path / "Annotations").is_dir()
        splits: dict[str, dict[str, Any]] = {
            n: {"ROOT": str(path), "SPLIT": n, **({} if labelled else {"LABELLED": False})}
            for n in plain
        }
        if splits:
            return FoundData(path, "voc", splits, "JPEGImages and ImageSets/Main are in it")
    # As Roboflow exports it: all images and XML files in a folder per split.
    entries = entries_of(path)
    of_splits = [Path(e.path) for e in entries if is_folder(e) and _is_split(e.name)]
    splits = {f.name: {"ROOT": str(f), "SPLIT": None} for f in of_splits if _has_voc_xml(f)}
    if splits and not any(map(_holds_more_voc_xml, entries)):
        return FoundData(path, "voc", splits, f"{', '.join(splits)} hold VOC's XML files")
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    if _has_voc_xml(folder):
        entry = {"ROOT": str(path), "SPLIT": None}
        return FoundData(path, "voc", {ALL: entry}, "there are VOC's XML files in it")
    return None


def _is_class_list(name: str, names: list[str], lists: Path) -> bool:
    """Whether a list is another once more for one class, as aeroplane_train is of train."""
    label, _, split = name.rpartition("_")
    if not label or split not in names:
        return False
    try:
        return is_class_wise(text for _, text in read_lines(lists / f"{name}.txt", "split"))
    except UserError:  # which the reader will explain
        return False


def _has_voc_xml(folder: Path) -> bool:
    return any(_is_voc_xml(entry) for entry in walk_files(folder, ENOUGH))


def _holds_more_voc_xml(entry: os.DirEntry) -> bool:
    """Whether an entry beside folders of splits is, or holds, XML files of none of them."""
    if not is_folder(entry):
        return _is_voc_xml(entry)
    return not _is_split(entry.name) and _has_voc_xml(Path(entry.path))


def _is_voc_xml(entry: os.DirEntry) -> bool:
    if not entry.name.lower().endswith(".xml"):
        return False
    return _VOC_ROOT.search(head_of(entry.path)) is not None


def _class_folders(path: Path) -> FoundData | None:
    """Folders of images and no image beside them; or the same below train, val, test."""
    if not path.is_dir() or has_images(path):
        return None
    below = [Path(e.path) for e in entries_of(path) if is_folder(e)]
    splits = {}
    for folder in below:
        if _is_split(folder.name) and _classes(folder):
            splits[folder.name] = {"ROOT": str(folder)}
    if splits:
        return FoundData(path, "folder", splits, f"{', '.join(splits)} hold a folder per class")
    if _classes(path):
        why = f"{len(_classes(path))} folders of images are in it, one per class"
        return FoundData(path, "folder", {ALL: {"ROOT": str(path)}}, why)
    return None


def _classes(folder: Path) -> list[str]:
    """Names of the folders that hold images, if there are two and no image beside them."""
    names = [e.name for e in entries_of(folder) if is_folder(e) and has_images(Path(e.path))]
    return names if len(names) > 1 and not has_images(folder) else []


def _images(path: Path) -> FoundData | None:
    if not path.is_dir() or not holds_images(path):
        return None
    why = "there are images in it, and no labels"
    if unread := unread_labels(path):
        why = f"there are images in it, and labels that are not read: {unread}"
    for file in _json_files(path):
        if names := _some_images_of_coco(file):
            why = f"there are images in it, but not those that {file.name} names: {show(names[0])}"
    return FoundData(path, "images", {ALL: {"ROOT": str(path)}}, why)


def _is_split(name: str) -> bool:
    return name.lower() in (*TRAIN, *VAL, *TEST)


def _split_in(name: str) -> str:
    """train, val or test where a file name says so (instances_train2017), else the name itself."""
    words = re.findall(r"[a-z]+", name.lower())
    for split, names in (("train", TRAIN), ("val", VAL), ("test", TEST)):
        if any(word in names for word in words):
            return split
    return ALL
