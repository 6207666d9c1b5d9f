"""Names, sizes and places of the Mini VOC->Watercolor data sets; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from ..roots import datasets_root

# In the order of Watercolor2k.
CLASSES: tuple[str, ...] = ("bicycle", "bird", "car", "cat", "dog", "person")
FOLDER = "mini_voc2watercolor"


@dataclass(frozen=True)
class Split:
    """One data set.

    Attributes:
        name: what it is registered as.
        domain: folder below that of its collection, and how it is drawn: "photo"; "watercolor",
            with the target sprites; "mixed", the same with both sprite sets.
        split: name of its list in ``ImageSets/Main``.
        images: default number of images.
        held_out: drawn with glyphs that ``mini_photo_train`` never shows.
        stream: its number in the seed of every image; never reused.
    """

    name: str
    domain: str
    split: str
    images: int
    held_out: bool
    stream: int


SPLITS: tuple[Split, ...] = (
    Split("mini_photo_train", "photo", "train", 1000, False, 0),
    Split("mini_photo_test", "photo", "test", 300, True, 1),
    Split("mini_watercolor_train", "watercolor", "train", 800, True, 2),
    Split("mini_watercolor_val", "watercolor", "val", 300, True, 3),
    Split("mini_watercolor_test", "watercolor", "test", 500, True, 4),
    Split("mini_mixed_test", "mixed", "test", 300, True, 5),
)

#: The hard target: every effect of the watercolor at full strength, and every object by a designer
#: whom the source never shows.
OPENMOJI_FOLDER = "mini_openmoji"
OPENMOJI_SPLITS: tuple[Split, ...] = (
    Split("mini_openmoji_train", "watercolor", "train", 1000, True, 7),
    Split("mini_openmoji_val", "watercolor", "val", 400, True, 8),
    Split("mini_openmoji_test", "watercolor", "test", 600, True, 9),
)

#: More of the source, for detectors that are trained until they saturate.
PHOTO_LARGE_FOLDER = "mini_photo_large"
PHOTO_LARGE_SPLITS: tuple[Split, ...] = (
    Split("mini_photo_large_train", "photo", "train", 2000, False, 10),
)

#: Folder -> what is generated there together.
COLLECTIONS: dict[str, tuple[Split, ...]] = {
    FOLDER: SPLITS,
    OPENMOJI_FOLDER: OPENMOJI_SPLITS,
    PHOTO_LARGE_FOLDER: PHOTO_LARGE_SPLITS,
}


def mini_splits(root: str | Path | None = None) -> dict[str, tuple[Path, str]]:
    """Where each data set is, or will be once it is generated.

    Args:
        root: folder of all data sets; see :func:`metaalign_det.roots.datasets_root`.

    Returns:
        name -> (VOC folder with JPEGImages, Annotations and ImageSets; split).
    """
    base = datasets_root(root)
    return {
        s.name: (base / folder / s.domain, s.split)
        for folder, splits in COLLECTIONS.items()
        for s in splits
    }


def resolve_sizes(
    sizes: Mapping[str, int] | None, splits: Sequence[Split] = SPLITS
) -> dict[str, int]:
    """Default numbers of images with those of ``sizes`` (by data set name) in their place."""
    resolved = {s.name: s.images for s in splits}
    for name, count in (sizes or {}).items():
        if name not in resolved:
            raise UserError(f"sizes: no mini data set {name!r}; there are: {', '.join(resolved)}")
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise UserError(f"sizes[{name!r}] must be a whole number from 1, not {count!r}")
        resolved[name] = count
    return resolved
