"""Pictures to look at: a contact sheet of the domains and strengths, and a sheet of all glyphs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ..errors import UserError
from .generate import Picture, draw, single_threaded_cv2
from .scenes import IMAGE_SIZE
from .splits import CLASSES, SPLITS
from .sprites import HELD_OUT, SEEN, SPRITE_SETS, Glyph, glyph_pool, sprite

# RGB per class, told apart on paper and on photographs.
_COLORS = (
    (230, 60, 60),
    (30, 130, 230),
    (250, 150, 0),
    (170, 60, 200),
    (20, 160, 90),
    (60, 60, 70),
)
_BOTH = tuple(SPRITE_SETS)
# Caption, sprite sets, held-out glyphs, strength (None = photo), stylisation.
_ROWS: tuple[tuple[str, tuple[str, ...], bool, float | None, float], ...] = (
    ("photo, source glyphs", ("twemoji",), False, None, 0.0),
    ("photo, held-out glyphs", ("twemoji",), True, None, 0.0),
    ("strength 0.25", ("twemoji",), True, 0.25, 0.0),
    ("strength 0.5", ("twemoji",), True, 0.5, 0.0),
    ("strength 0.75 (default)", ("twemoji",), True, 0.75, 0.0),
    ("strength 1", ("twemoji",), True, 1.0, 0.0),
    ("mixed, 0.75", _BOTH, True, 0.75, 0.0),
    ("openmoji, 1", ("openmoji",), True, 1.0, 0.0),
    ("openmoji, 1, stylised", ("openmoji",), True, 1.0, 0.35),
)
_GAP = 3
_CAPTION = 14
_STREAM = max(split.stream for split in SPLITS) + 1  # none of the images that are trained on


def contact_sheet(seed: int = 0, columns: int = 8, boxes: bool = True) -> np.ndarray:
    """One row per domain or strength; from the second row on a column is one random stream.

    Args:
        seed: whole number >= 0.
        columns: images per row.
        boxes: draw the boxes with their class names.

    Returns:
        uint8 RGB.
    """
    rows = []
    with single_threaded_cv2():
        for number, (caption, sets, held_out, strength, stylization) in enumerate(_ROWS):
            pool = glyph_pool(sets, held_out)
            first = columns if number == 0 else 0  # other grounds than in the second row
            pictures = [
                draw((seed, _STREAM, first + i), pool, strength, stylization)
                for i in range(columns)
            ]
            cells = [draw_boxes(p) if boxes else p.image for p in pictures]
            rows += [_caption(caption, columns * (IMAGE_SIZE + _GAP)), _row(cells)]
    return np.vstack(rows)


def glyph_sheet(columns: int = 22, side: int = 56) -> np.ndarray:
    """Every glyph, by class and designer; held-out ones on a darker ground. uint8 RGB."""
    rows = []
    for name in CLASSES:
        for sprite_set in SPRITE_SETS:
            held_out = () if HELD_OUT[name] == SEEN[name] else HELD_OUT[name]
            cells = [_glyph_cell(Glyph(sprite_set, c), side, 235) for c in SEEN[name]]
            cells += [_glyph_cell(Glyph(sprite_set, c), side, 165) for c in held_out]
            rows.append(_caption(f"{name}, {sprite_set}", columns * (side + _GAP)))
            blank = np.full((side, side, 3), 255, np.uint8)
            cells += [blank] * (-len(cells) % columns)
            rows += [_row(cells[i : i + columns]) for i in range(0, len(cells), columns)]
    return np.vstack(rows)


def draw_boxes(picture: Picture) -> np.ndarray:
    """A copy of the image with boxes and class names, uint8 RGB."""
    image = picture.image.copy()
    for item in picture.objects:
        color = _COLORS[item.category]
        x0, y0, x1, y1 = item.box
        cv2.rectangle(image, (x0, y0), (x1 - 1, y1 - 1), color, 1)
        label = CLASSES[item.category]
        (width, height), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.3, 1)
        left, top = min(x0, image.shape[1] - width - 2), max(y0 - height - 3, 0)
        cv2.rectangle(image, (left, top), (left + width + 1, top + height + 3), color, -1)
        at = (left + 1, top + height + 1)
        white = (255, 255, 255)
        cv2.putText(image, label, at, cv2.FONT_HERSHEY_SIMPLEX, 0.3, white, 1, cv2.LINE_AA)
    return image


def save_sheet(sheet: np.ndarray, path: str | Path) -> Path:
    """Write a sheet as PNG or JPEG, by the extension of ``path``."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise UserError(f"{path}: a sheet is written as .png or .jpg, not {path.suffix!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(path.suffix.lower(), np.ascontiguousarray(sheet[..., ::-1]))
    path.write_bytes(encoded.tobytes())
    return path


def _row(cells: Sequence[np.ndarray]) -> np.ndarray:
    return np.hstack(
        [np.pad(c, ((0, _GAP), (0, _GAP), (0, 0)), constant_values=255) for c in cells]
    )


def _caption(text: str, width: int) -> np.ndarray:
    strip = np.full((_CAPTION, width, 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, text, (3, _CAPTION - 4), font, 0.36, (40, 40, 40), 1, cv2.LINE_AA)
    return strip


def _glyph_cell(glyph: Glyph, side: int, gray: int) -> np.ndarray:
    pixels = sprite(glyph)
    scale = (side - 4) / max(pixels.shape[:2])
    width, height = (max(1, round(n * scale)) for n in (pixels.shape[1], pixels.shape[0]))
    pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    cell = np.full((side, side, 3), gray, np.uint8)
    y, x = (side - height) // 2, (side - width) // 2
    drawn = pixels[..., :3] * 255 + gray * (1 - pixels[..., 3:])
    cell[y : y + height, x : x + width] = np.clip(drawn + 0.5, 0, 255).astype(np.uint8)
    return cell
