"""Grounds of the "photo" domain: photograph crops, landscapes, surfaces.

All return float32 RGB in [0, 1], shape (S, S, 3).
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from .noise import fractal_noise, gaussian, gradient, rgb, smoothstep, value_noise

# RGB. Skies as (zenith, haze above the horizon): clear, overcast, dusk, pale, evening.
_SKIES = (
    ((0.30, 0.52, 0.82), (0.78, 0.87, 0.95)),
    ((0.62, 0.65, 0.70), (0.83, 0.84, 0.85)),
    ((0.36, 0.40, 0.60), (0.94, 0.72, 0.55)),
    ((0.52, 0.70, 0.86), (0.93, 0.93, 0.88)),
    ((0.20, 0.26, 0.42), (0.66, 0.56, 0.58)),
)
# RGB of what lies on the ground, dark and light: grass, dry grass, sand, earth, asphalt, snow,
# water, moss.
_GROUNDS = (
    ((0.16, 0.27, 0.09), (0.45, 0.58, 0.25)),
    ((0.40, 0.36, 0.18), (0.75, 0.68, 0.42)),
    ((0.58, 0.48, 0.34), (0.88, 0.79, 0.62)),
    ((0.24, 0.17, 0.12), (0.52, 0.40, 0.30)),
    ((0.26, 0.26, 0.28), (0.54, 0.54, 0.55)),
    ((0.74, 0.78, 0.84), (0.97, 0.97, 0.98)),
    ((0.14, 0.27, 0.34), (0.48, 0.62, 0.68)),
    ((0.12, 0.18, 0.12), (0.38, 0.44, 0.30)),
)
# RGB of walls and of wood or stone.
_WALLS = (
    (0.83, 0.80, 0.72),
    (0.62, 0.70, 0.72),
    (0.72, 0.55, 0.45),
    (0.55, 0.60, 0.50),
    (0.86, 0.86, 0.86),
    (0.50, 0.42, 0.46),
)
_FLOORS = ((0.50, 0.34, 0.22), (0.66, 0.52, 0.38), (0.40, 0.40, 0.42), (0.70, 0.66, 0.60))


def photo_ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """One ground: a photograph (45 %), a landscape (30 %), or a room or a plain surface (25 %)."""
    kind = rng.random()
    if kind < 0.45:
        return photograph_ground(rng, size)
    if kind < 0.75:
        return landscape_ground(rng, size)
    return surface_ground(rng, size)


@lru_cache(maxsize=1)
def _photographs() -> tuple[np.ndarray, ...]:
    """The two photographs that come with scikit-learn (CC-BY 2.0), uint8 RGB 427 x 640."""
    from sklearn.datasets import load_sample_images

    return tuple(load_sample_images().images)


def photograph_ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """A random window of a real photograph with other colours, light and focus."""
    photographs = _photographs()
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    side = int(np.exp(rng.uniform(np.log(110), np.log(min(height, width)))))
    top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    window = photograph[top : top + side, left : left + side]
    window = cv2.resize(window, (size, size), interpolation=cv2.INTER_AREA)
    image = window.astype(np.float32) / 255
    if rng.random() < 0.5:
        image = image[:, ::-1]
    hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + np.float32(rng.normal(0, 35))) % 360
    hsv[..., 1] = np.clip(hsv[..., 1] * np.float32(rng.uniform(0.3, 1.1)), 0, 1)
    image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    image = np.clip(image, 0, 1) ** np.float32(rng.uniform(0.6, 1.5))
    image *= rng.uniform(0.85, 1.15, 3).astype(np.float32)  # white balance
    return gaussian(np.clip(image, 0, 1), float(rng.uniform(0.8, 3.0)))


def landscape_ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """Sky with clouds, one or two hazy ridges, and textured ground in perspective."""
    zenith, haze = (np.float32(c) for c in _SKIES[int(rng.integers(len(_SKIES)))])
    horizon = float(rng.uniform(0.22, 0.6)) * size
    rows = np.arange(size, dtype=np.float32)[:, None]
    height_above = np.clip(1 - rows / horizon, 0, 1)[..., None]
    image = haze + (zenith - haze) * height_above ** np.float32(0.8)
    image = np.broadcast_to(image, (size, size, 3)).copy()
    clouds = fractal_noise(rng, (size, size), (48, 24, 12, 6), 0.55, stretch=2.5)
    cover = rgb(smoothstep(clouds, float(rng.uniform(-0.2, 1.0)), 2.2))
    image += cover * (np.float32([0.97, 0.97, 0.97]) * haze.mean() * 1.1 - image) * 0.8

    dark, light = (np.float32(c) for c in _GROUNDS[int(rng.integers(len(_GROUNDS)))])
    for distance in (0.75, 0.35)[: int(rng.integers(1, 3))]:
        ridge = horizon - size * (
            0.04 + 0.05 * fractal_noise(rng, (1, size), (60, 30, 12, 5))[0] * rng.uniform(0.3, 1)
        )
        land = rgb(smoothstep(rows - ridge, -0.7, 0.7))
        tint = (0.4 * dark + 0.6 * np.float32([0.18, 0.24, 0.2])) * (1 - distance) + haze * distance
        texture = rgb(1 + 0.10 * (1 - distance) * value_noise(rng, (size, size), 3.0))
        image += land * (tint * texture - image)

    texture = _perspective(rng, fractal_noise(rng, (192, 192), (24, 12, 6, 3), 0.75), horizon, size)
    blend = rgb(np.clip(0.5 + 0.26 * texture, 0, 1))
    floor = dark + (light - dark) * blend
    depth = np.clip((rows - horizon) / (size - horizon), 0, 1)[..., None]
    floor = floor + (haze - floor) * 0.45 * (1 - depth) ** 3  # aerial perspective
    below = smoothstep(rows - horizon, -0.8, 0.8)[..., None]
    image += below * (floor - image)
    return gaussian(np.clip(image, 0, 1), float(rng.uniform(0.6, 2.2)))


def surface_ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """A wall with a floor, or the ground seen from above: grass, sand, bricks, planks."""
    if rng.random() < 0.45:
        dark, light = (np.float32(c) for c in _GROUNDS[int(rng.integers(len(_GROUNDS)))])
        texture = fractal_noise(rng, (size, size), (70, 24, 8, 4, 2), 0.8)
        image = dark + (light - dark) * rgb(np.clip(0.5 + 0.24 * texture, 0, 1))
        return gaussian(image, float(rng.uniform(0.6, 2.0)))
    wall = np.float32(_WALLS[int(rng.integers(len(_WALLS)))])
    plaster = 1 + 0.03 * fractal_noise(rng, (size, size), (40, 12, 4, 2), 0.7)
    if rng.random() < 0.4:
        plaster *= _bricks(rng, size)
    image = wall * rgb(plaster)
    if rng.random() < 0.75:  # otherwise the wall fills the picture
        edge = float(rng.uniform(0.45, 0.8)) * size
        floor = np.float32(_FLOORS[int(rng.integers(len(_FLOORS)))])
        grain = fractal_noise(rng, (192, 192), (24, 8, 3), 0.7, stretch=0.3)
        boards = value_noise(rng, (1, 192), 12.0)[0]
        grain = _perspective(rng, grain * 0.5 + 1.5 * np.round(boards * 3) / 3, edge, size)
        rows = np.arange(size, dtype=np.float32)[:, None, None]
        below = smoothstep(rows - edge, -0.7, 0.7)
        image = image + below * (floor * (1 + 0.12 * rgb(grain)) - image)
        skirting = np.exp(-np.square((rows - edge) / 2.0))
        image = image * (1 - 0.35 * skirting)
    return gaussian(np.clip(image, 0, 1).astype(np.float32), float(rng.uniform(0.6, 2.0)))


def _perspective(
    rng: np.random.Generator, texture: np.ndarray, horizon: float, size: int
) -> np.ndarray:
    """Lay a texture on the plane below the horizon; above it the values mean nothing."""
    rows = np.arange(size, dtype=np.float32)[:, None]
    columns = np.arange(size, dtype=np.float32)[None]
    depth = 1 / (np.clip((rows - horizon) / (size - horizon), 0, 1) + np.float32(0.18))
    shift = rng.uniform(0, texture.shape[0], 2).astype(np.float32)
    u = (columns - size / 2) * depth * np.float32(0.8) + shift[0]
    v = np.broadcast_to(depth * np.float32(60.0) + shift[1], (size, size))
    return cv2.remap(
        texture.astype(np.float32), u, v.copy(), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )


def _bricks(rng: np.random.Generator, size: int) -> np.ndarray:
    """Brightness factors of a running bond: bricks that differ, and darker joints."""
    course = int(rng.integers(9, 18))
    y, x = np.mgrid[0:size, 0:size]
    row = y // course
    shifted = x + (row % 2) * course
    tone = rng.uniform(0.82, 1.12, (size // course + 2, size // course + 4)).astype(np.float32)
    joint = (y % course == 0) | (shifted % (2 * course) == 0)
    return tone[row, shifted // (2 * course)] * np.where(joint, np.float32(0.75), np.float32(1))


def add_clutter(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Up to three things out of focus that are none of the classes, tinted like the ground."""
    size = image.shape[0]
    for _ in range(int(rng.integers(0, 4))):
        center = tuple(int(c) for c in rng.integers(0, size, 2))
        axes = tuple(int(a) for a in rng.integers(6, 30, 2))
        angle, square, sigma = float(rng.uniform(0, 180)), rng.random() < 0.4, rng.uniform(1, 4)
        cover = np.zeros((size, size), np.float32)
        if square:
            corners = cv2.boxPoints((center, (2.0 * axes[0], 2.0 * axes[1]), angle))
            cv2.fillConvexPoly(cover, corners.astype(np.int32), 1.0)
        else:
            cv2.ellipse(cover, center, axes, angle, 0, 360, 1.0, -1)
        cover = rgb(gaussian(cover, float(sigma))) * float(rng.uniform(0.4, 0.9))
        local = image[min(center[1], size - 1), min(center[0], size - 1)]
        tint = np.clip(local * np.float32(rng.uniform(0.4, 1.5)) + rng.normal(0, 0.06, 3), 0, 1)
        lit = tint.astype(np.float32) * rgb(1 + 0.2 * gradient((size, size), angle))
        image = image + cover * (lit - image)
    return image
