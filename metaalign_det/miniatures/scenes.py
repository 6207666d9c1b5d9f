"""Where which sprite stands: a scene before it is photographed or painted.

Shapes: S side of the square image in pixels; boxes are (x0, y0, x1, y1) in pixels, 0-based, the
lower right edge exclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from .splits import CLASSES
from .sprites import Glyph, sprite

IMAGE_SIZE = 160
MAX_OBJECTS = 4
SIZE_RANGE = (34.0, 92.0)  # longest side of a sprite before rotation, pixels
MAX_ROTATION = 12.0  # degrees
MAX_OVERLAP = 0.15  # intersection of two boxes over the smaller one
MASK_THRESHOLD = 0.5  # a pixel belongs to an object if at least half of it is covered
# Largest hue shift, in turns. Bicycle and car are painted in any colour; an animal stays itself.
HUE_JITTER = {"bicycle": 0.5, "car": 0.5}
SMALL_HUE_JITTER = 0.03
_PLACEMENT_TRIES = 30

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class SceneObject:
    """One placed sprite; ``mask`` is bool (S, S), everything of it, hidden or not."""

    category: int
    glyph: Glyph
    mask: np.ndarray
    box: Box


@dataclass(frozen=True)
class Scene:
    """All sprites on an empty ground.

    Attributes:
        color: float32 RGB in [0, 1], premultiplied by ``alpha``, shape (S, S, 3).
        alpha: float32 coverage in [0, 1], shape (S, S).
        objects: back to front.
    """

    color: np.ndarray
    alpha: np.ndarray
    objects: tuple[SceneObject, ...]


def sample_scene(
    rng: np.random.Generator,
    pool: Mapping[str, Sequence[Glyph]],
    wobble: float = 0.0,
    size: int = IMAGE_SIZE,
) -> Scene:
    """Draw 1 to 4 objects, classes equally often, and put them where there is room.

    Args:
        rng: source of randomness; the number of draws does not depend on ``wobble``.
        pool: class name -> glyphs to choose from.
        wobble: amplitude in pixels of a smooth displacement of the outlines (an unsteady hand).
            Everything else stays as it is, unless a box that grew no longer fits where it was.
        size: side S of the image in pixels.
    """
    color = np.zeros((size, size, 3), np.float32)
    alpha = np.zeros((size, size), np.float32)
    objects: list[SceneObject] = []
    for _ in range(int(rng.integers(1, MAX_OBJECTS + 1))):
        category = int(rng.integers(len(CLASSES)))
        glyphs = pool[CLASSES[category]]
        glyph = glyphs[int(rng.integers(len(glyphs)))]
        patch = _warped_sprite(rng, glyph, CLASSES[category], wobble)
        y0, x0, y1, x1 = _mask_extent(patch[..., 3])
        corners = rng.random((_PLACEMENT_TRIES, 2))
        for fx, fy in corners:
            left = int(fx * (size - (x1 - x0) + 1))
            top = int(fy * (size - (y1 - y0) + 1))
            box = (left, top, left + x1 - x0, top + y1 - y0)
            if all(overlap(box, other.box) <= MAX_OVERLAP for other in objects):
                mask = _paste_over(color, alpha, patch, left - x0, top - y0)
                objects.append(SceneObject(category, glyph, mask, box))
                break
    return Scene(color, alpha, tuple(objects))


def overlap(a: Box, b: Box) -> float:
    """Intersection of two boxes over the area of the smaller one."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return width * height / smaller


def _mask_extent(alpha: np.ndarray) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of what reaches the threshold, the end exclusive."""
    mask = alpha >= MASK_THRESHOLD
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def _warped_sprite(rng: np.random.Generator, glyph: Glyph, name: str, wobble: float) -> np.ndarray:
    """Recoloured, scaled, flipped, rotated and wobbled: float32 premultiplied RGBA (h, w, 4)."""
    longest = float(np.exp(rng.uniform(*np.log(SIZE_RANGE))))
    flip = rng.random() < 0.5
    angle = float(rng.uniform(-MAX_ROTATION, MAX_ROTATION))
    jitter = HUE_JITTER.get(name, SMALL_HUE_JITTER)
    hue, saturation, value = rng.uniform((-jitter, 0.85, 0.85), (jitter, 1.15, 1.1))
    bends = rng.random((2, 6, 6), np.float32) * 2 - 1

    source = sprite(glyph)
    scale = longest / max(source.shape[:2])
    shape = (max(2, round(source.shape[1] * scale)), max(2, round(source.shape[0] * scale)))
    patch = cv2.resize(
        source, shape, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    )
    # Premultiplied from here on: interpolation must not pull in colour from outside the sprite.
    patch[..., :3] = _jitter_color(patch[..., :3], patch[..., 3:], hue, saturation, value)
    if flip:
        patch = patch[:, ::-1]
    # One remap for rotation and wobble together: every interpolation costs sharpness.
    height, width = patch.shape[:2]
    cos, sin = abs(np.cos(np.radians(angle))), abs(np.sin(np.radians(angle)))
    margin = 2 + int(np.ceil(wobble))
    out_w = int(np.ceil(width * cos + height * sin)) + 2 * margin
    out_h = int(np.ceil(width * sin + height * cos)) + 2 * margin
    y, x = np.mgrid[0:out_h, 0:out_w].astype(np.float32)
    x += wobble * cv2.resize(bends[0], (out_w, out_h), interpolation=cv2.INTER_CUBIC)
    y += wobble * cv2.resize(bends[1], (out_w, out_h), interpolation=cv2.INTER_CUBIC)
    dx, dy = x - (out_w - 1) / 2, y - (out_h - 1) / 2
    cos, sin = np.float32(np.cos(np.radians(angle))), np.float32(np.sin(np.radians(angle)))
    map_x = cos * dx + sin * dy + np.float32((width - 1) / 2)
    map_y = cos * dy - sin * dx + np.float32((height - 1) / 2)
    patch = cv2.remap(np.ascontiguousarray(patch), map_x, map_y, cv2.INTER_LINEAR)
    return np.clip(patch, 0.0, 1.0)


def _jitter_color(
    rgb: np.ndarray, alpha: np.ndarray, hue: float, saturation: float, value: float
) -> np.ndarray:
    """Premultiplied RGB in [0, 1] recoloured; ``hue`` in turns, the others are factors.

    In HSV a common factor of the three channels is a factor of V alone, so premultiplied colours
    keep their hue and saturation, and V only has to stay below ``alpha``.
    """
    hsv = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + np.float32(hue * 360)) % 360
    hsv[..., 1] = np.minimum(hsv[..., 1] * np.float32(saturation), 1)
    hsv[..., 2:] = np.minimum(hsv[..., 2:] * np.float32(value), alpha)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _paste_over(
    color: np.ndarray, alpha: np.ndarray, patch: np.ndarray, left: int, top: int
) -> np.ndarray:
    """Lay a patch over a picture in place, cut off at its border; returns the patch's mask."""
    height, width = alpha.shape
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + patch.shape[1], width), min(top + patch.shape[0], height)
    patch = patch[y0 - top : y1 - top, x0 - left : x1 - left]
    window = np.s_[y0:y1, x0:x1]
    behind = 1 - patch[..., 3]
    color[window] = patch[..., :3] + color[window] * behind[..., None]
    alpha[window] = patch[..., 3] + alpha[window] * behind
    mask = np.zeros(alpha.shape, bool)
    mask[window] = patch[..., 3] >= MASK_THRESHOLD
    return mask
