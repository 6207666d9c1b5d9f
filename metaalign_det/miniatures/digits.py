"""Mini Digits: real handwritten digits on black, and the same kind of digits over photographs.

A small MNIST -> MNIST-M (Ganin et al., JMLR 2016, section 5.2.4) made of what ships inside the
scikit-learn wheel, so that it needs no download. The 1,797 digits of ``load_digits`` are split
into source and target, training and test *before* anything is drawn: no pen stroke is in two
splits. Each image is one digit, enlarged from 8x8 to 32x32 pixels and deformed; a target image
is its absolute difference with a random crop of one of the two photographs.

Deterministic: image i of a split is a function of ``[seed, split, i]`` alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import numpy as np
from PIL import Image

from ..errors import UserError
from ..roots import datasets_root
from .store import build_once, read_manifest

#: Images per split. The order is part of the seeding: append only.
SIZES: dict[str, int] = {
    "source_train": 4000,
    "source_test": 1000,
    "target_train": 4000,
    "target_val": 1000,
    "target_test": 2000,
}

#: Side of an image in pixels.
SIDE = 32

CLASSES: tuple[str, ...] = tuple("0123456789")

_SPLITS = tuple(SIZES)
# Of every 20 digits of a class, how many go to each split.
_SHARES = (7, 2, 7, 2, 2)
_FOLDER = "mini_digits"
_GENERATOR = "metaalign_det.miniatures.digits"
_VERSION = 1  # to be raised with every change of the pictures
_LICENCES = {
    "digits": "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI Machine "
    "Learning Repository, CC BY 4.0",
    "china.jpg": "danielbuechele, CC BY 2.0, as attributed by scikit-learn",
    "flower.jpg": "vultilion, CC BY 2.0, as attributed by scikit-learn",
}
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DigitStyle:
    """How digits are drawn; every deformation is drawn anew for every image.

    Args:
        box: side of the digit's 8x8 box in the image, in pixels.
        rotation: largest angle, degrees.
        shear: largest horizontal shear, a tangent.
        scale: largest relative change of each side of the box.
        shift: largest displacement of the box in pixels.
        elastic: standard deviation in pixels of a smooth displacement field.
        photo_scale: side in photograph pixels of the smallest and the largest crop behind a
            target digit, drawn log-uniformly.
        photo_contrast: factor on the deviations of a crop from its mean.
        photo_mean: range of the mean that each crop is given, 0 = black, 1 = white.

    The last two are a change to the construction of MNIST-M. In front of a bright crop the
    absolute difference is the negative of a digit; the sky of one of the two photographs would
    make 28 % of the target such negatives, of which a source-only network gets 13 % right, and
    on which alignment moved whole classes onto wrong ones (DANN lost 11 points).
    """

    box: float = 26.0
    rotation: float = 10.0
    shear: float = 0.15
    scale: float = 0.12
    shift: float = 2.0
    elastic: float = 0.8
    photo_scale: tuple[float, float] = (32.0, 128.0)
    photo_contrast: float = 1.5
    photo_mean: tuple[float, float] = (0.1, 0.5)


def draw_image(
    split: str, index: int, *, seed: int = 0, style: DigitStyle | None = None
) -> tuple[np.ndarray, int]:
    """Draw one image of Mini Digits.

    Args:
        split: a key of :data:`SIZES`.
        index: which image, from 0; its class is ``index % 10``, so that classes are balanced.
        seed: of the data set, also of the assignment of digits to splits.
        style: None = the defaults.

    Returns:
        tuple: image (ndarray): uint8 RGB, shape (32, 32, 3); label: 0 to 9.
    """
    style = style or DigitStyle()
    number = _SPLITS.index(split)
    label = index % len(CLASSES)
    rng = np.random.default_rng([seed, number, index])
    pool = _pools(seed)[number][label]
    ink = _deform(_digits()[0][rng.choice(pool)], rng, style)
    if split.startswith("target"):
        ground = photo_crop(rng, style)
        image = np.abs(ground - ink[:, :, None])
    else:
        image = np.repeat(ink[:, :, None], 3, axis=2)
    return np.rint(image * 255).astype(np.uint8), label


def ensure_mini_digits(
    root: str | Path | None = None,
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    progress: bool = True,
) -> Path:
    """Make sure that Mini Digits is on disk, one folder a class, and say where.

    Args:
        root: dataset root; None = the environment variable ``DETECTRON2_DATASETS``, or
            ``./datasets``.
        seed: another seed is another data set, which replaces this one.
        sizes: images per split, for those that shall differ from :data:`SIZES`.
        progress: log a line per split while generating, which takes about half a minute.

    Returns:
        Path: ``<root>/mini_digits``, with ``<split>/<class>/<index>.png`` and ``manifest.json``.

    Raises:
        UserError: the folder cannot be written or holds something else.
    """
    root = datasets_root(root)
    sizes = {**SIZES, **(sizes or {})}
    if unknown := sizes.keys() - SIZES.keys():
        raise ValueError(f"unknown splits {sorted(unknown)}; Mini Digits has {', '.join(SIZES)}")
    style = DigitStyle()
    manifest = {
        "generator": _GENERATOR,
        "version": _VERSION,
        "seed": seed,
        "counts": sizes,
        "side": SIDE,
        "style": asdict(style),
        "licences": _LICENCES,
    }

    def write(folder: Path) -> None:
        for split, size in sizes.items():
            if progress:
                _logger.info("Mini Digits: drawing %d images of %s ...", size, split)
            for name in CLASSES:
                (folder / split / name).mkdir(parents=True)
            for index in range(size):
                image, label = draw_image(split, index, seed=seed, style=style)
                file = folder / split / CLASSES[label] / f"{index:05d}.png"
                Image.fromarray(image).save(file, compress_level=1)

    return build_once(root / _FOLDER, manifest, write)


def find_mini_digits(root: str | Path | None = None) -> Path:
    """Where Mini Digits is, generated only if this version of it is not there yet.

    Unlike :func:`ensure_mini_digits` it accepts any seed and sizes, so that a data set that was
    generated with settings of its own is used and not replaced.

    Args, Returns, Raises: as for :func:`ensure_mini_digits`.
    """
    root = datasets_root(root)
    manifest = read_manifest(root / _FOLDER) or {}
    if (manifest.get("generator"), manifest.get("version")) == (_GENERATOR, _VERSION):
        return root / _FOLDER
    return ensure_mini_digits(root)


def _deform(digit: np.ndarray, rng: np.random.Generator, style: DigitStyle) -> np.ndarray:
    """One digit of 8x8 grey values as ink in [0, 1], shape (32, 32), under a random deformation.

    All deformations are one map from pixels of the image to points of the digit, so that the
    digit is interpolated once. Each of the 8x8 values counts the inked ones among 16 pixels of
    a bitmap: a threshold on the smooth interpolation finds the edge of the pen stroke again.
    """
    angle = np.deg2rad(rng.uniform(-style.rotation, style.rotation))
    shear = rng.uniform(-style.shear, style.shear)
    scale = 1 + rng.uniform(-style.scale, style.scale, 2)
    shift = rng.uniform(-style.shift, style.shift, 2)
    rotate = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    to_digit = np.array([[1, 0], [shear, 1]]) @ rotate / scale[:, None] * (8 / style.box)

    bumps = _smooth_basis()
    field = bumps @ rng.normal(0, style.elastic, (2, bumps.shape[1], bumps.shape[1])) @ bumps.T
    centre = (SIDE - 1) / 2
    pixels = np.mgrid[:SIDE, :SIDE] - centre
    moved = pixels + field - shift[:, None, None]
    points = np.tensordot(to_digit, moved, 1) + 3.5

    from scipy.ndimage import map_coordinates  # comes with scikit-learn

    values = map_coordinates(digit / 16, points, order=3, mode="grid-constant")
    edge = rng.uniform(0.3, 0.5)
    return _smoothstep((values - edge) / 0.4 + 0.5)


def photo_crop(rng: np.random.Generator, style: DigitStyle) -> np.ndarray:
    """A random square of a photograph in [0, 1], shape (32, 32, 3), recentred and maybe flipped."""
    photos = _photos()
    photo = photos[rng.integers(len(photos))]
    low, high = np.log(style.photo_scale)
    side = round(np.exp(rng.uniform(low, high)))
    left = rng.integers(photo.width - side + 1)
    top = rng.integers(photo.height - side + 1)
    crop = photo.resize(
        (SIDE, SIDE), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side)
    )
    pixels = np.asarray(crop, dtype=np.float64) / 255
    pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    mean = rng.uniform(*style.photo_mean)
    return np.clip((pixels - pixels.mean()) * style.photo_contrast + mean, 0, 1)


def _smoothstep(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    data = load_scikit_learn().load_digits()
    return data.images, data.target


@cache
def _photos() -> list[Image.Image]:
    return [Image.fromarray(photo) for photo in load_scikit_learn().load_sample_images().images]


def load_scikit_learn() -> ModuleType:
    """Scikit-learn's data sets.

    Raises:
        UserError: it is not installed.
    """
    # Imported here: scikit-learn is in the extra "mini".
    try:
        from sklearn import datasets
    except ImportError as e:
        raise UserError(
            "Mini Digits is drawn from data in scikit-learn, which is not installed: "
            "pip install 'metaalign_det[mini]'"
        ) from e
    return datasets


@cache
def _pools(seed: int) -> list[list[np.ndarray]]:
    """Indices of the digits of each split and class; disjoint, together all of them."""
    pools: list[list[np.ndarray]] = [[] for _ in _SPLITS]
    shares = np.cumsum(_SHARES)[:-1] / sum(_SHARES)
    for label in range(len(CLASSES)):
        members = np.flatnonzero(_digits()[1] == label)
        order = np.random.default_rng([seed, label]).permutation(members)
        for pool, part in zip(pools, np.split(order, np.rint(shares * len(order)).astype(int))):
            pool.append(part)
    return pools


@cache
def _smooth_basis(knots: int = 5) -> np.ndarray:
    """Rows of unit sum, shape (32, knots): a Gaussian bump per knot, to spread a coarse field."""
    x = np.arange(SIDE)[:, None]
    centres = np.linspace(0, SIDE - 1, knots)
    bumps = np.exp(-0.5 * ((x - centres) / (SIDE / (knots - 1) * 0.6)) ** 2)
    return bumps / bumps.sum(1, keepdims=True)
