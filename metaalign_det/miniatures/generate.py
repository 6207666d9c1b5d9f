"""One image of Mini VOC->Watercolor from a seed, and how it is written in VOC format.

Every image has a random stream of its own, ``default_rng([seed, split, index])``: it does not
depend on how many others there are, in which order, or in which process they are drawn. Scene,
ground, photography and paint have separate child streams, so that one scene can be looked at in
every style and strength.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np

from ..errors import UserError
from .photo import render_photo, sample_ground
from .scenes import IMAGE_SIZE, SceneObject, sample_scene
from .splits import CLASSES, Split
from .sprites import SPRITE_SETS, Glyph, glyph_pool
from .watercolor import MAX_STYLIZATION, remaining_photo, render_watercolor, wobble_of

JPEG_QUALITY = 92


@dataclass(frozen=True)
class Recipe:
    """What a user may choose about the data.

    Attributes:
        seed: whole number >= 0.
        strength: of the watercolour, 0 (a photograph) to 1.
        stylization: share of ``cv2.stylization`` in it, 0 to 0.35.
        target_sprites: designers of the watercolour domain's sprites.
    """

    seed: int = 0
    strength: float = 0.75
    stylization: float = 0.0
    target_sprites: tuple[str, ...] = ("twemoji",)

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise UserError(f"seed must be a whole number from 0, not {self.seed!r}")
        if not 0 <= self.strength <= 1:
            raise UserError(f"strength must be in [0, 1], not {self.strength}")
        if not 0 <= self.stylization <= MAX_STYLIZATION:
            raise UserError(
                f"stylization must be in [0, {MAX_STYLIZATION}], not {self.stylization}: "
                "above that it draws black outlines, which is no watercolour"
            )
        unknown = [name for name in self.target_sprites if name not in SPRITE_SETS]
        if unknown or not self.target_sprites:
            raise UserError(
                f"target_sprites must be one or more of {', '.join(SPRITE_SETS)}, "
                f"not {list(self.target_sprites)}"
            )

    def sprite_sets(self, split: Split) -> tuple[str, ...]:
        """Designers of a split's sprites; the source is always Twemoji."""
        if split.domain == "watercolor":
            return self.target_sprites
        return ("twemoji",) if split.domain == "photo" else tuple(SPRITE_SETS)


@dataclass(frozen=True)
class Picture:
    """A finished image, uint8 RGB (S, S, 3), and what is on it."""

    image: np.ndarray
    objects: tuple[SceneObject, ...]


@contextmanager
def single_threaded_cv2() -> Iterator[None]:
    """One OpenCV thread inside: the same bytes on any number of cores, and faster at this size."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def draw_split_image(recipe: Recipe, split: Split, index: int) -> Picture:
    """Image number ``index`` of a split."""
    pool = glyph_pool(recipe.sprite_sets(split), split.held_out)
    strength = None if split.domain == "photo" else recipe.strength
    return draw((recipe.seed, split.stream, index), pool, strength, recipe.stylization)


def draw(
    key: Sequence[int],
    pool: Mapping[str, Sequence[Glyph]],
    strength: float | None,
    stylization: float = 0.0,
) -> Picture:
    """One image.

    Args:
        key: seed of its random stream, non-negative integers.
        pool: class name -> glyphs that may be drawn.
        strength: of the watercolour in [0, 1]; None = the photo domain.
        stylization: share of ``cv2.stylization``.
    """
    scene_rng, ground_rng, photo_rng, paint_rng = np.random.default_rng(list(key)).spawn(4)
    scene = sample_scene(scene_rng, pool, wobble_of(strength or 0.0))
    ground = sample_ground(ground_rng, IMAGE_SIZE)
    if strength is None:
        image = render_photo(scene, ground, photo_rng)
    else:
        photo = None
        if remaining_photo(strength) > 0:
            photo = render_photo(scene, ground, photo_rng)
        image = render_watercolor(scene, ground, photo, paint_rng, strength, stylization)
    return Picture((image * 255 + 0.5).astype(np.uint8), scene.objects)


def image_id(split: Split, index: int) -> str:
    """File name without extension: splits of one domain share a folder."""
    return f"{split.split}_{index:05d}"


def write_split_images(recipe: Recipe, split: Split, indices: range, folder: Path) -> list[int]:
    """Draw and write some images of a split below ``folder``, a VOC tree that exists.

    Returns:
        the number of objects of each class, in the order of ``CLASSES``.
    """
    counts = [0] * len(CLASSES)
    with single_threaded_cv2():
        for index in indices:
            picture = draw_split_image(recipe, split, index)
            name = image_id(split, index)
            _, jpeg = cv2.imencode(
                ".jpg", picture.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
            )
            (folder / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg.tobytes())
            xml = annotation(name, picture)
            (folder / "Annotations" / f"{name}.xml").write_text(xml, encoding="utf-8")
            for item in picture.objects:
                counts[item.category] += 1
    return counts


def annotation(name: str, picture: Picture) -> str:
    """The Pascal VOC XML of an image: boxes 1-based, both corners inside the box."""
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = "JPEGImages"
    ET.SubElement(root, "filename").text = f"{name}.jpg"
    height, width = picture.image.shape[:2]
    size = ET.SubElement(root, "size")
    for tag, value in (("width", width), ("height", height), ("depth", 3)):
        ET.SubElement(size, tag).text = str(value)
    ET.SubElement(root, "segmented").text = "0"
    for item in picture.objects:
        node = ET.SubElement(root, "object")
        ET.SubElement(node, "name").text = CLASSES[item.category]
        ET.SubElement(node, "pose").text = "Unspecified"
        ET.SubElement(node, "truncated").text = "0"
        ET.SubElement(node, "difficult").text = "0"
        x0, y0, x1, y1 = item.box
        box = ET.SubElement(node, "bndbox")
        for tag, value in (("xmin", x0 + 1), ("ymin", y0 + 1), ("xmax", x1), ("ymax", y1)):
            ET.SubElement(box, tag).text = str(value)
    ET.indent(root, "\t")
    return ET.tostring(root, encoding="unicode") + "\n"
