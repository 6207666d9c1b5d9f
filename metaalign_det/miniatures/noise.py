"""Smooth random fields, the raw material of grounds, light, paper and pigment."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def value_noise(
    rng: np.random.Generator, shape: tuple[int, int], cell: float | tuple[float, float]
) -> np.ndarray:
    """Random values on a grid, interpolated bicubically.

    Args:
        rng: source of randomness.
        shape: (height, width) in pixels.
        cell: distance of grid points in pixels, one number or (vertical, horizontal).

    Returns:
        float32 (height, width), about uniform in [-1, 1] (bicubic overshoot is not cut off).
    """
    cell_y, cell_x = (cell, cell) if isinstance(cell, int | float) else cell
    grid = rng.random(
        (max(2, round(shape[0] / cell_y) + 1), max(2, round(shape[1] / cell_x) + 1)), np.float32
    )
    return cv2.resize(grid, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC) * 2 - 1


def fractal_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    cells: Sequence[float] = (64, 32, 16, 8, 4),
    persistence: float = 0.6,
    stretch: float = 1.0,
) -> np.ndarray:
    """Sum of octaves of ``value_noise``; each is ``persistence`` times weaker than the one before.

    Args:
        rng: source of randomness.
        shape: (height, width) in pixels.
        cells: grid distance of each octave in pixels, coarse to fine.
        persistence: weight ratio of neighbouring octaves.
        stretch: horizontal over vertical grid distance; above 1 draws streaks.

    Returns:
        float32 (height, width) with mean 0 and standard deviation 1.
    """
    field = np.zeros(shape, np.float32)
    # Coarse octaves are summed at a quarter of the size and enlarged once: half the time.
    small = (max(1, shape[0] // 4), max(1, shape[1] // 4))
    coarse = np.zeros(small, np.float32)
    weight = 1.0
    for cell in cells:
        if min(cell, cell * stretch) >= 12 and min(small) > 1:
            coarse += weight * value_noise(rng, small, (cell / 4, cell * stretch / 4))
        else:
            field += weight * value_noise(rng, shape, (cell, cell * stretch))
        weight *= persistence
    field += cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)
    field -= field.mean()
    return field / max(float(field.std()), 1e-6)


def rgb(field: np.ndarray) -> np.ndarray:
    """(H, W) repeated to (H, W, 3): broadcasting a last axis of one is seven times slower."""
    return cv2.merge((field, field, field))


def smoothstep(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, a cubic without corners in between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def gradient(shape: tuple[int, int], angle: float) -> np.ndarray:
    """A linear ramp along ``angle`` (radians): float32 (height, width), -1 to 1 over the image."""
    y = np.linspace(-1, 1, shape[0], dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, shape[1], dtype=np.float32)
    ramp = np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y
    return ramp / max(float(np.abs(ramp).max()), 1e-6)


def gaussian(image: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur with ``sigma`` in pixels; below 0.2 px the image as it is."""
    if sigma < 0.2:
        return image
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
