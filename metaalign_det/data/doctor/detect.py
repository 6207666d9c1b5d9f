"""What kind of data a folder holds, and how to register it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ...errors import UserError
from ..formats.class_names import shorten
from ..formats.image_files import is_folder, is_image_name
from ..formats.paths import show
from ..formats.text_files import read_lines, read_yaml
from ..formats.voc import is_class_wise
from ..formats.yolo import has_split
from .detect_coco import detect_coco, json_files, some_images_of_coco
from .detect_street import detect_street_scenes
from .folders import ENOUGH, entries_of, has_images, head_of, holds_images, walk_files
from .found_data import ALL, FoundData, are_splits, is_split
from .unread import YAML_SUFFIXES, not_understood, unread_labels

# What to do where folders are classes and are not taken for them.
_BY_HAND = "register it in a config with FORMAT: folder"
_NULLS = ("null", "~")  # in YAML: nothing
_VOC_ROOT = re.compile(rb"<annotation[\s/>]")  # not CVAT's <annotations>


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
    labelled = (_yolo, detect_coco, _voc, detect_street_scenes)
    for recognise in (*labelled, _images_with_other_labels, _class_folders, _images):
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
    of_splits = [Path(e.path) for e in entries if is_folder(e) and is_split(e.name)]
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
    return not is_split(entry.name) and _has_voc_xml(Path(entry.path))


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
        if is_split(folder.name) and _classes(folder, of_split=True):
            splits[folder.name] = {"ROOT": str(folder)}
    if splits:
        return FoundData(path, "folder", splits, f"{', '.join(splits)} hold a folder per class")
    if _classes(path):
        why = f"{len(_classes(path))} folders of images are in it, one per class"
        return FoundData(path, "folder", {ALL: {"ROOT": str(path)}}, why)
    return None


def _classes(folder: Path, of_split: bool = False) -> list[str]:
    """Names of the folders that hold images, if there are two and no image beside them.

    Args:
        folder: where to look.
        of_split: it is a split itself, so that there is none in it: a class may be called train.
    """
    if has_images(folder):
        return []
    if of_split:
        names = _all_folders_of_images(folder)
        return names if len(names) > 1 else []
    return _folders_of_images(folder)


def _folders_of_images(folder: Path) -> list[str]:
    """Names of the folders in a folder that hold images, if there are two and no splits."""
    names = _all_folders_of_images(folder)
    return names if len(names) > 1 and not are_splits(names) else []


def _all_folders_of_images(folder: Path) -> list[str]:
    return [e.name for e in entries_of(folder) if is_folder(e) and has_images(Path(e.path))]


def labels_not_read(path: Path) -> str:
    """Which labels beside the images of a folder are not read, and why; "" where there are none."""
    if not path.is_dir() or not holds_images(path):
        return ""
    for file in json_files(path):
        if names := some_images_of_coco(file):
            return f"there are images in it, but not those that {file.name} names: {show(names[0])}"
    if unread := unread_labels(path):
        return f"there are images in it, and labels that are not read: {unread}"
    return ""


def _images_with_other_labels(path: Path) -> FoundData | None:
    """Labelled boxes lie in folders too, of days or splits, which are no classes then.

    A stray file of labels in folders of classes changes nothing but the words.
    """
    why = labels_not_read(path)
    if not why:
        return None
    if classes := _class_folders(path):
        if not _mostly_labelled(path):
            rest = why.removeprefix("there are images in it, ")
            return replace(classes, why=f"{classes.why}, {rest}")
        why += f"; if its folders are classes, {_BY_HAND}"
    return FoundData(path, "images", {ALL: {"ROOT": str(path)}}, why)


def _mostly_labelled(path: Path) -> bool:
    """Whether most images have a file of labels beside them, or in labels/ beside images/."""
    images, labels = set(), set()
    for entry in walk_files(path, 10 * ENOUGH):
        folder, name = os.path.split(entry.path)
        stem, suffix = os.path.splitext(name)
        if is_image_name(name):
            images.add((folder, stem))
        elif suffix.lower() in (".json", ".xml", ".txt"):
            labels |= {(folder, stem), (re.sub(r"\blabels\b", "images", folder), stem)}
    return 2 * len(images & labels) > len(images)


def _images(path: Path) -> FoundData | None:
    if not path.is_dir() or not holds_images(path):
        return None
    why = "there are images in it, and no labels"
    beside = [e.name for e in entries_of(path) if is_image_name(e.name)]
    if beside and (folders := _folders_of_images(path)):
        why += f"; its {len(folders)} folders of images would be classes without {show(beside[0])}"
        why += f" and {len(beside) - 1} more beside them" if beside[1:] else " beside them"
    folders = [] if beside else _all_folders_of_images(path)
    if len(folders) > 1:
        why += f"; {shorten(folders)} are taken for splits: if they are classes, {_BY_HAND}"
    return FoundData(path, "images", {ALL: {"ROOT": str(path)}}, why)
