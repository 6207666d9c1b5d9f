"""The target domain: the same kind of scene painted in watercolour.

Paint is modelled as transparent layers that absorb light (Beer-Lambert): a picture is
``paper * exp(-absorbance)`` and layers add their absorbances, so washes shine through each other
as they do on paper. ``strength`` scales every effect; at 0 the picture is the photograph.

Image arrays are float32, shape (S, S, 3) RGB in [0, 1] or absorbances >= 0, or (S, S).
"""

from __future__ import annotations

import cv2
import numpy as np

from .noise import fractal_noise, gaussian, gradient, rgb, smoothstep, value_noise
from .scenes import Scene

MAX_STYLIZATION = 0.35  # above it cv2.stylization draws black outlines
MAX_WOBBLE = 2.4  # displacement of outlines at strength 1, pixels

_PAPER = np.float32([0.975, 0.960, 0.925])
# RGB of one full layer on white: ultramarine, cerulean, viridian, sap green, ochre, raw sienna,
# burnt sienna, madder, violet, Payne's grey, olive, rose.
_PIGMENTS = np.float32(
    [
        (0.42, 0.50, 0.80),
        (0.52, 0.74, 0.86),
        (0.45, 0.75, 0.66),
        (0.60, 0.72, 0.42),
        (0.92, 0.78, 0.46),
        (0.86, 0.66, 0.42),
        (0.74, 0.48, 0.36),
        (0.85, 0.46, 0.48),
        (0.62, 0.50, 0.74),
        (0.45, 0.50, 0.58),
        (0.58, 0.60, 0.40),
        (0.92, 0.66, 0.70),
    ]
)


def render_watercolor(
    scene: Scene,
    ground: np.ndarray,
    photo: np.ndarray | None,
    rng: np.random.Generator,
    strength: float,
    stylization: float = 0.0,
) -> np.ndarray:
    """Paint a scene.

    Args:
        scene: the sprites, already drawn with an unsteady hand (``wobble_of(strength)``).
        ground: the photographic ground some painters start from.
        photo: the same scene photographed, of which ``remaining_photo(strength)`` is left; None
            where that is 0.
        rng: source of randomness; the number of draws does not depend on the strength.
        strength: 0 (the photograph) to 1.
        stylization: share of ``cv2.stylization`` in the result, 0 to ``MAX_STYLIZATION``.
    """
    s = np.float32(strength)
    shape = scene.alpha.shape
    grain = fractal_noise(rng, shape, (3.0, 1.5), 0.8)  # the tooth of the paper
    flow = fractal_noise(rng, shape, (40, 20, 10), 0.6)  # where water stood: more or less pigment

    washes = _ground_washes(ground, rng)
    paint = _object_paint(scene, flow, rng, s)
    # Overpainting lifts only part of what is below, more of it the thicker the paint.
    transparency = s * np.float32(rng.uniform(0.25, 0.6))
    covered = scene.alpha * (1 - transparency)
    absorbance = washes * rgb(1 - covered) + paint
    absorbance = absorbance + _lines(scene, flow, rng, s)
    # Granulation: pigment settles in the valleys of the paper.
    absorbance *= rgb(np.clip(1 + s * (0.16 * grain + 0.14 * flow), 0.2, 2))
    image = rgb(1 + 0.018 * grain) * np.exp(-absorbance) * _PAPER

    luminance = image @ np.float32([0.299, 0.587, 0.114])
    image += s * np.float32(0.22) * (rgb(luminance) - image)
    image = _smooth_like_brushwork(image, s)
    if stylization:
        drawn = cv2.stylization(_to_bgr(image), sigma_s=30, sigma_r=0.45)
        drawn = drawn[..., ::-1].astype(np.float32) / 255
        image = image + np.float32(stylization) * (drawn - image)
    if photo is not None:
        image = image + np.float32(remaining_photo(strength)) * (photo - image)
    return np.clip(image, 0, 1)


def remaining_photo(strength: float) -> float:
    """Share of the photograph in the picture: 1 at strength 0, gone smoothly at 0.7."""
    return max(0.0, 1 - strength / 0.7) ** 2


def wobble_of(strength: float) -> float:
    """Displacement of outlines in pixels that goes with a strength."""
    return MAX_WOBBLE * strength


def _to_bgr(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((np.clip(image, 0, 1)[..., ::-1] * 255 + 0.5).astype(np.uint8))


def _smooth_like_brushwork(image: np.ndarray, s: np.float32) -> np.ndarray:
    """Even out strokes inside edges.

    The filter is slow, so it runs at half the size, and its change, not its result, is enlarged:
    the paper keeps its tooth.
    """
    height, width = image.shape[:2]
    small = cv2.resize(image, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    smooth = cv2.edgePreservingFilter(
        _to_bgr(small), flags=cv2.RECURS_FILTER, sigma_s=8, sigma_r=0.3
    )
    change = smooth[..., ::-1].astype(np.float32) / 255 - small
    return image + s * np.float32(0.8) * cv2.resize(change, (width, height))


def _dark_edge(mask: np.ndarray, width: float) -> np.ndarray:
    """Pigment carried to the rim of a drying wash: a band inside the edge of ``mask``."""
    return np.clip(mask - gaussian(mask, width), 0, 1) * mask


def _ground_washes(ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Absorbance of the ground: some painted after the motif, most from two to five free washes."""
    shape = ground.shape[:2]
    absorbance = np.zeros(ground.shape, np.float32)
    colors = -np.log(_PIGMENTS[rng.permutation(len(_PIGMENTS))])
    # A graded first wash over the whole sheet.
    ramp = 0.5 + 0.5 * gradient(shape, float(rng.uniform(0, 2 * np.pi)))
    density = np.float32(rng.uniform(0.05, 0.55)) * (0.3 + 0.7 * ramp)
    absorbance += rgb(density) * colors[0]
    for color in colors[1 : 1 + int(rng.integers(2, 5))]:
        field = fractal_noise(rng, shape, (70, 35, 14, 6), 0.45)
        field = field + np.float32(rng.uniform(0, 1.2)) * gradient(
            shape, float(rng.uniform(0, 6.3))
        )
        level, softness = float(rng.uniform(0.0, 0.9)), float(rng.choice([0.06, 0.15, 0.9]))
        mask = smoothstep(field, level, level + softness)
        density = mask * (1 + 0.25 * value_noise(rng, shape, 30.0))
        density += 1.6 * _dark_edge(mask, 2.5)
        absorbance += rgb(np.float32(rng.uniform(0.2, 0.65)) * density) * color

    after_motif, share = rng.random() < 0.45, np.float32(rng.uniform(0.6, 1.0))
    dilution = np.float32(rng.uniform(0.3, 0.6))
    if after_motif:
        motif = -np.log(np.clip(_simplified(ground), 0.08, 1)) * dilution
        absorbance = absorbance * (1 - share * 0.75) + share * motif
    return np.clip(absorbance, 0, None)


def _simplified(ground: np.ndarray) -> np.ndarray:
    """A photograph in few tones and without detail, the way a painter sees it."""
    height, width = ground.shape[:2]
    small = cv2.resize(ground, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    flat = cv2.edgePreservingFilter(
        _to_bgr(small), flags=cv2.RECURS_FILTER, sigma_s=9, sigma_r=0.5
    )[..., ::-1]
    tones = np.round(flat.astype(np.float32) / 255 * 5) / 5
    return gaussian(cv2.resize(tones, (width, height), interpolation=cv2.INTER_LINEAR), 0.8)


def _object_paint(
    scene: Scene, flow: np.ndarray, rng: np.random.Generator, s: np.float32
) -> np.ndarray:
    """Absorbance of the objects: diluted, uneven, dark at the rim, running in wet places."""
    alpha = rgb(scene.alpha)
    straight = scene.color / np.maximum(alpha, 1e-3)
    # Colours are pulled towards a middle tone: paint on paper knows neither black nor neon.
    full = -np.log(np.clip(straight, 0.06, 0.97)) * alpha
    dilution = 1 - s * np.float32(rng.uniform(0.2, 0.6))
    uneven = 1 + s * 0.45 * np.clip(flow, -1.6, 1.6)
    rim = 1 + s * 1.4 * _dark_edge(gaussian(scene.alpha, 0.6), 3.0)
    paint = full * rgb(dilution * uneven * rim)
    soft = gaussian(paint, float(rng.uniform(2.0, 4.5)))
    wet = rgb(smoothstep(value_noise(rng, scene.alpha.shape, 45.0), 0.0, 0.7))
    return paint + s * wet * np.float32(0.7) * (soft - paint)


def _lines(scene: Scene, flow: np.ndarray, rng: np.random.Generator, s: np.float32) -> np.ndarray:
    """Absorbance of a pencil or pen drawing that misses the paint by a pixel or two."""
    shape = scene.alpha.shape
    weight = np.float32(rng.uniform(0.0, 0.9) if rng.random() < 0.75 else 0.0)
    shift = rng.uniform(-1.5, 1.5, 2)
    bend_x, bend_y = (1.6 * value_noise(rng, shape, 24.0) for _ in range(2))
    ink = -np.log(np.float32([0.30, 0.27, 0.26]))
    tone = scene.color @ np.float32([0.299, 0.587, 0.114]) + (1 - scene.alpha)
    field = gaussian(0.6 * tone + 0.4 * (1 - scene.alpha), 0.8)
    edge = np.hypot(
        cv2.Sobel(field, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(field, cv2.CV_32F, 0, 1, ksize=3)
    )
    line = smoothstep(edge, 0.25, 0.9)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    line = cv2.remap(
        line,
        x + s * (bend_x + np.float32(shift[0])),
        y + s * (bend_y + np.float32(shift[1])),
        cv2.INTER_LINEAR,
    )
    broken = smoothstep(flow, -1.2, 0.4)  # the pencil is lifted here and there
    return rgb(s * weight * line * broken) * ink
