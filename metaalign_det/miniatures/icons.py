"""Icons: the same 44 objects in four styles, an Office-Home that a package registry has.

Domains are styles (emoji, color, line, glyph), classes are objects (airplane, apple, ...), and
every image is by a designer who drew that object in that style for people to recognise: a shift
that nobody synthesised. Line icons are strokes, glyphs filled shapes, both black on white; color
icons are those of user interfaces; emoji are small paintings.

``icon_names.json`` lists the icons, chosen by hand among all whose names match ("hot dog" is no
dog): at least 8 and at most 24 of each class in each style, from 131 sets whose licences let
anybody draw and pass them on. The pictures themselves are drawn on this machine from the npm
package ``@iconify/json``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from ..errors import UserError
from ..roots import datasets_root
from .iconify import PACKAGE, VERSION, IconSet, find_package, read_icon_sets
from .store import build_once, read_manifest

FOLDER = "icons"
STYLES: tuple[str, ...] = ("emoji", "color", "line", "glyph")
# fmt: off
CLASSES: tuple[str, ...] = (
    "airplane", "apple", "balloon", "bell", "book", "briefcase", "bug", "bus", "cake", "calendar",
    "camera", "car", "cat", "clock", "computer", "crown", "cup", "envelope", "eye", "fish",
    "flower", "folder", "gift", "glasses", "headphones", "house", "ice_cream", "key", "leaf",
    "microphone", "music_note", "pencil", "printer", "rocket", "ship", "snowflake", "star", "sun",
    "tent", "tree", "truck", "tv", "umbrella", "wrench",
)
# fmt: on

#: Split -> share of the icons of each class and style; test has the rest. A style that is the
#: source trains on its half; one that is the target adapts to its half, chooses settings on val
#: and is scored on test.
SHARES: dict[str, float] = {"train": 0.5, "val": 0.2, "test": 0.3}

#: Side of an image in pixels, and the white margin in it.
SIDE, MARGIN = 128, 8

_GENERATOR = "metaalign_det.miniatures.icons"
_VERSION = 1  # to be raised with every change of the pictures
_RASTER = 256  # side at which an icon is drawn before what is on it is cut out
_logger = logging.getLogger(__name__)


@cache
def icon_names() -> dict[str, dict[str, dict[str, list[str]]]]:
    """Class -> style -> icon set -> names of its icons; not to be changed."""
    return json.loads(Path(__file__).with_name("icon_names.json").read_text(encoding="utf-8"))


def ensure_icons(
    root: str | Path | None = None,
    *,
    package: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Path:
    """Make sure that the icons are on disk, one folder a style and class, and say where.

    Args:
        root: dataset root; None = ``DETECTRON2_DATASETS``, or ``./datasets``.
        package: archive or folder of ``@iconify/json``; None = in ``root``.
        seed: of the split into train, val and test.
        progress: show a progress bar; drawing takes about half a minute.

    Returns:
        Path: ``<root>/icons``, with ``<style>/<class>/<set>--<icon>.png`` (128 x 128 pixels, on
        white), ``image_list/<style>_<split>.txt``, and ``manifest.json``, which names the author
        and the licence of every set.

    Raises:
        UserError: the package is not there or another version of it (says what to type), a
            missing wheel, or the folder cannot be written or holds something else.
    """
    root = datasets_root(root)
    chosen = {"generator": _GENERATOR, "version": _VERSION, "names": _digest(), "seed": seed}
    found = read_manifest(root / FOLDER)
    if found is not None and {k: found.get(k) for k in chosen} == chosen:
        return root / FOLDER
    _check_rasteriser()
    source = find_package(root, package)
    _logger.info("Icons: reading %s ...", source)
    prefixes = {p for styles in icon_names().values() for sets in styles.values() for p in sets}
    version, sets = read_icon_sets(source, sorted(prefixes))
    _check_icons(source, version, sets)
    manifest: dict[str, Any] = {
        **chosen,
        "package": f"{PACKAGE} {version}",
        "side": SIDE,
        "counts": {s: sum(len(icons_of(s, c)) for c in CLASSES) for s in STYLES},
        "sets": {prefix: one.info for prefix, one in sets.items()},
    }
    return build_once(root / FOLDER, manifest, lambda folder: _write(folder, sets, seed, progress))


def find_icons(root: str | Path | None = None) -> Path:
    """Where the icons are, generated only if this version of them is not there yet.

    Args, Returns, Raises: as :func:`ensure_icons`; any seed is accepted.
    """
    root = datasets_root(root)
    manifest = read_manifest(root / FOLDER) or {}
    return ensure_icons(root, seed=manifest.get("seed", 0))


def icons_of(style: str, name: str) -> list[tuple[str, str]]:
    """(set, icon) of every icon of a class in a style, in the order of the file."""
    return [(prefix, icon) for prefix, icons in icon_names()[name][style].items() for icon in icons]


def split_of(style: str, name: str, seed: int = 0) -> dict[str, list[tuple[str, str]]]:
    """Split -> its icons of a class in a style: disjoint, together all, a function of the seed."""
    icons = icons_of(style, name)
    rng = np.random.default_rng([seed, STYLES.index(style), CLASSES.index(name)])
    order = rng.permutation(len(icons))
    ends = np.rint(np.cumsum(list(SHARES.values()))[:-1] * len(icons)).astype(int)
    parts = np.split(order, ends)
    return {split: [icons[i] for i in sorted(part)] for split, part in zip(SHARES, parts)}


def draw_icon(svg: str) -> np.ndarray:
    """Draw an icon as large as it fits into the image, centred, on white.

    Args:
        svg: an SVG document.

    Returns:
        ndarray: uint8 RGB, shape (128, 128, 3).

    Raises:
        UserError: nothing is drawn.
    """
    import cv2
    import resvg_py

    encoded = resvg_py.svg_to_bytes(
        svg_string=svg, width=_RASTER, height=_RASTER, skip_system_fonts=True
    )
    rgba = cv2.cvtColor(
        cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA
    )
    rows, columns = np.nonzero(rgba[..., 3] > 8)
    if not len(rows):
        raise UserError("an icon has nothing on it")
    rgba = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(np.float32)
    alpha = rgba[..., 3:] / 255
    on_white = rgba[..., :3] * alpha + 255 * (1 - alpha)
    scale = (SIDE - 2 * MARGIN) / max(on_white.shape[:2])
    height, width = (max(1, round(n * scale)) for n in on_white.shape[:2])
    area = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(on_white, (width, height), interpolation=area)
    image = np.full((SIDE, SIDE, 3), 255, np.float32)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    image[top : top + height, left : left + width] = resized
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _write(folder: Path, sets: dict[str, IconSet], seed: int, progress: bool) -> None:
    (folder / "image_list").mkdir()
    total = sum(len(icons_of(style, name)) for style in STYLES for name in CLASSES)
    with tqdm(total=total, desc="icons", unit="img", disable=not progress, mininterval=1) as bar:
        for style in STYLES:
            lines: dict[str, list[str]] = {split: [] for split in SHARES}
            for number, name in enumerate(CLASSES):
                (folder / style / name).mkdir(parents=True)
                for split, icons in split_of(style, name, seed).items():
                    for prefix, icon in icons:
                        path = f"{style}/{name}/{prefix}--{icon}.png"
                        image = Image.fromarray(draw_icon(sets[prefix].svg(icon)))
                        image.save(folder / path, compress_level=1)
                        lines[split].append(f"{path} {number}\n")
                        bar.update()
            for split, listed in lines.items():
                file = folder / "image_list" / f"{style}_{split}.txt"
                file.write_text("".join(listed), encoding="utf-8")


def _digest() -> str:
    """Of the names: a number would have to be raised by hand, and be forgotten."""
    return hashlib.sha256(json.dumps(icon_names(), sort_keys=True).encode()).hexdigest()[:16]


def _check_icons(source: Path, version: str, sets: dict[str, IconSet]) -> None:
    missing = [
        f"{prefix}:{icon}"
        for style in STYLES
        for name in CLASSES
        for prefix, icon in icons_of(style, name)
        if sets[prefix].svg(icon) is None
    ]
    if missing:
        raise UserError(
            f"{source} is {PACKAGE} {version} and lacks {len(missing)} of the icons, such as "
            f"{missing[0]}: they were chosen from version {VERSION}"
        )


def _check_rasteriser() -> None:
    from importlib.util import find_spec

    if find_spec("resvg_py") is None:
        raise UserError("icons are drawn by resvg-py, not installed: pip install resvg-py")
