"""COCO data in a folder: which JSON is of which split, and where its images are."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ...errors import UserError
from ..formats.image_files import is_folder
from ..formats.paths import on_disk, show
from .folders import entries_of, holds_images
from .found_data import ALL, FoundData, is_split, split_in

_COCO_KEYS = (b'"images"', b'"annotations"', b'"categories"')
_OF_IMAGES = ("image", "images", "img", "imgs", "frames")  # words in names of their folders
_OTHER_ANNOTATIONS = ("person_keypoints", "stuff", "panoptic", "captions")
_FILE_NAME = re.compile(rb'"file_name"\s*:\s*"((?:[^"\\]|\\.)*)"')
_BLOCK = 2**20  # bytes of a JSON looked at at a time
_LOOKED_FOR = 20  # images of a JSON that are looked for on the disk


def detect_coco(path: Path) -> FoundData | None:
    """COCO data in a folder, or of a JSON file by itself; None if it is none.

    Raises:
        UserError: images that a JSON names are not there, or in several folders.
    """
    top = path if path.is_dir() else path.parent
    roots: dict[Path, Path] = {}
    for file in json_files(path):
        names = some_images_of_coco(file)
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


def json_files(path: Path) -> list[Path]:
    """A JSON file, or those of a folder and of the folders in it."""
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
        split = split_in(f"{_folder_below(file, top)}/{file.stem}")
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


def some_images_of_coco(file: Path) -> list[str]:
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
    split = split_in(folder.name)
    if split == ALL:
        return bool(words) and words <= of_json
    # But not train_masks, whose files are called like the images.
    others = {w for w in words if not is_split(w.rstrip("0123456789")) and w not in _OF_IMAGES}
    same = split == split_in(f"{_folder_below(json_file, top)}/{json_file.stem}")
    return same and others <= of_json


def _words(name: str) -> set[str]:
    return set(re.findall(r"[^\W_]+", name.lower()))


def _folder_below(file: Path, top: Path) -> str:
    return "" if file.parent == top else file.parent.name
