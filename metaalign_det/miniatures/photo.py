"""The source domain: sprites "photographed" on a ground.

Image arrays are float32 RGB in [0, 1], shape (S, S, 3), unless said otherwise.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from .grounds import add_clutter, photo_ground
from .noise import gaussian, gradient, rgb, value_noise
from .scenes import Scene


def render_photo(scene: Scene, ground: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light, shadow, lens and sensor on a scene.

    Args:
        scene: the sprites.
        ground: from ``sample_ground``.
        rng: source of randomness.
    """
    shape = scene.alpha.shape
    towards_light = float(rng.uniform(0, 2 * np.pi))
    image = _cast_shadow(scene.alpha, ground, towards_light, rng)
    image = image * rgb(1 - scene.alpha) + _shade(scene, towards_light, rng)

    # Uneven light: a falloff across the picture and soft patches, as under trees.
    light = 1 + float(rng.uniform(0.0, 0.22)) * gradient(shape, towards_light)
    light *= 1 + float(rng.uniform(0.0, 0.18)) * value_noise(rng, shape, 70.0)
    image = image * rgb(light * float(rng.uniform(0.85, 1.1)))

    image = gaussian(image, float(rng.uniform(0.2, 0.6)))
    # Photon noise grows with the square root of brightness; part of it is the same in all colours.
    level = float(rng.uniform(0.004, 0.018))
    gray = rng.standard_normal((*shape, 1), np.float32)
    color = rng.standard_normal((*shape, 3), np.float32)
    noise = gaussian(0.8 * gray + 0.6 * color, float(rng.uniform(0.0, 0.6)))
    return np.clip(image + level * np.sqrt(np.clip(image, 0.05, 1)) * 1.5 * noise, 0, 1)


def sample_ground(rng: np.random.Generator, size: int) -> np.ndarray:
    """A photographic ground with its clutter."""
    return np.clip(add_clutter(rng, photo_ground(rng, size)), 0, 1).astype(np.float32)


def _cast_shadow(
    alpha: np.ndarray, ground: np.ndarray, towards_light: float, rng: np.random.Generator
) -> np.ndarray:
    """Darken the ground where the objects keep the light off: contact and cast shadow."""
    distance = float(rng.uniform(2, 6))
    dx, dy = -distance * math.cos(towards_light), distance * abs(math.sin(towards_light))
    move = np.float32([[1, 0, dx], [0, 1, dy]])
    cast = cv2.warpAffine(alpha, move, alpha.shape[::-1])
    cast = gaussian(cast, float(rng.uniform(1.5, 4.0)))
    contact = gaussian(alpha, 1.5)
    shadow = float(rng.uniform(0.25, 0.6)) * cast + 0.15 * contact
    return ground * rgb(1 - np.clip(shadow, 0, 0.75))


def _shade(scene: Scene, towards_light: float, rng: np.random.Generator) -> np.ndarray:
    """Give the flat drawings a body: relief from the outline, light from above, surface texture."""
    relief = gaussian(scene.alpha, 3.0)
    slope_x = cv2.Sobel(relief, cv2.CV_32F, 1, 0, ksize=3)
    slope_y = cv2.Sobel(relief, cv2.CV_32F, 0, 1, ksize=3)
    # The surface falls off where alpha does, so its normal points against the slope.
    facing = -(math.cos(towards_light) * slope_x - abs(math.sin(towards_light)) * slope_y)
    shade = 1 + float(rng.uniform(0.25, 0.55)) * facing
    shade *= 1 + 0.04 * value_noise(rng, scene.alpha.shape, 2.5)
    lifted = scene.color * rgb(np.clip(shade, 0.45, 1.4))
    # Nothing photographed is pure black or pure white.
    covered = rgb(scene.alpha)
    return np.clip(lifted, 0, covered) * 0.9 + 0.05 * covered
