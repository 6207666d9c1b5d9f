"""Street scenes in the layout of their archives: Cityscapes and KITTI."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..formats.image_files import is_folder, is_image_name
from .folders import ENOUGH, entries_of, has_images, walk_files
from .found_data import ALL, TEST, FoundData

_CLEAR, _FOGGY, _LABELS = "leftImg8bit", "leftImg8bit_foggy", "gtFine"
_FRAME = re.compile(r"_leftImg8bit(?:_foggy_beta_(?P<beta>[\d.]+))?\.\w+$")
_POLYGONS = "_gtFine_polygons.json"
_USUAL_BETA = "0.02"


def detect_street_scenes(path: Path) -> FoundData | None:
    """Cityscapes or KITTI in a folder, or around a folder of its images; None if it is neither."""
    if not path.is_dir():
        return None
    return _cityscapes(path) or _kitti(path)


def _cityscapes(path: Path) -> FoundData | None:
    """The root of the archives, ``leftImg8bit``, or one split in it."""
    for depth in range(min(3, len(path.parts))):
        root = path.parents[depth - 1] if depth else path
        below = path.parts[len(path.parts) - depth :] if depth else ()
        there = [name for name in (_CLEAR, _FOGGY) if (root / name).is_dir()]
        folder = below[0] if below else next(iter(there), "")
        if folder == _LABELS and _CLEAR in there:
            folder = _CLEAR
        if folder not in there:
            continue
        images = root / folder
        names = below[1:] or [e.name for e in entries_of(images) if is_folder(e)]
        splits = {name: entry for name in names if (entry := _split(root, folder, name))}
        if not splits:
            continue
        polygons = any("LABELLED" not in entry for entry in splits.values())
        why = f"{folder} holds Cityscapes' images, {_LABELS} "
        why += "their polygons" if polygons else f"no polygons of them (*{_POLYGONS})"
        if not polygons and any(split in TEST for split in splits):
            why += "; those of a test split show no object"
        if not below and len(there) > 1:
            why += f"; those of {_FOGGY} are another data set: give that folder for them"
        return FoundData(root, "cityscapes", splits, why, images.joinpath(*below[1:]))
    return None


def _split(root: Path, folder: str, split: str) -> dict[str, Any]:
    """Keys of an entry in ``DATASETS.REGISTER``; none if no image is called as Cityscapes' are."""
    frames = [
        match["beta"]
        for entry in walk_files(root / folder / split, ENOUGH)
        if is_image_name(entry.name) and (match := _FRAME.search(entry.name))
    ]
    betas = sorted({beta for beta in frames if beta})
    if not frames or bool(betas) != (folder == _FOGGY):
        return {}
    entry: dict[str, Any] = {"ROOT": str(root), "SPLIT": split}
    if betas:
        entry["FOGGY_BETA"] = _USUAL_BETA if _USUAL_BETA in betas else betas[-1]
    files = walk_files(root / _LABELS / split, ENOUGH)
    # The polygons of the published test images show no object.
    if split in TEST or not any(f.name.endswith(_POLYGONS) for f in files):
        entry["LABELLED"] = False
    return entry


def _kitti(path: Path) -> FoundData | None:
    """The folder ``training``, the one around it, or ``image_2`` in it."""
    for top, root in ((path, path), (path, path / "training"), (path.parent, path.parent)):
        images = root / "image_2"
        if path not in (root, root.parent, images) or not has_images(images):
            continue
        labels = any(e.name.endswith(".txt") for e in entries_of(root / "label_2"))
        if not labels and not (root / "image_3").is_dir():
            continue
        entry: dict[str, Any] = {"ROOT": str(root), **({} if labels else {"LABELLED": False})}
        why = f"image_2 holds KITTI's images, label_2 {'their' if labels else 'no'} labels"
        return FoundData(top, "kitti", {ALL: entry}, why, images)
    return None
