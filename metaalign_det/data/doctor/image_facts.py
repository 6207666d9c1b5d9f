"""One look at the content of every image file: whether it can be read, and what identifies it."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from ...errors import BadImageError
from ..formats.image_headers import open_image, upright_size
from ..views.images import to_gray

_SIDE = 32  # pixels, of the picture that is compared
_LOW = 8  # frequencies per axis that make the hash
_FLAT = 2.0  # standard deviation in gray levels below which a picture shows nothing
_LOG_SECONDS = 10  # between two lines of progress where they do not overwrite each other


class ImageFacts(NamedTuple):
    """What one image file is.

    Attributes:
        file: its path.
        error: why it cannot be read; None if it can, and only then the others are set.
        size: width and height in pixels, after EXIF rotation.
        content: hash of the bytes of the file.
        look: 64 bits that stay nearly the same when a picture is scaled or compressed anew: the
            signs of its lowest frequencies about their median ("pHash", Zauner 2010).
        thumbnail: gray, 32x32, as bytes; confirms what ``look`` suggests.
        flat: it shows nothing, all pixels are nearly equal.
    """

    file: str
    error: str | None = None
    size: tuple[int, int] = (0, 0)
    content: bytes = b""
    look: int = 0
    thumbnail: bytes = b""
    flat: bool = False


def read_facts(
    files: Sequence[str], *, jobs: int | None = None, progress: bool = True
) -> dict[str, ImageFacts]:
    """Decode every file, on all cores: in threads, since decoders let go of Python's lock.

    Args:
        files: paths; each is read once.
        jobs: files at a time; None = one per core.
        progress: show a bar with the time that is left, on stderr.

    Returns:
        dict: file -> its facts.
    """
    files = list(dict.fromkeys(files))
    bar = tqdm(
        total=len(files),
        unit="image",
        desc="reading images",
        disable=not progress,
        mininterval=0.1 if sys.stderr.isatty() else _LOG_SECONDS,
    )
    facts = {}
    pool = ThreadPoolExecutor(jobs or os.cpu_count() or 1)
    try:
        with bar:
            for one in pool.map(look_at, files):
                facts[one.file] = one
                bar.update()
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C, not the rest of them first
    return facts


def look_at(file: str) -> ImageFacts:
    """The facts of one file; whatever is wrong with it is in them."""
    try:
        with open_image(file) as (image, stream):
            size = upright_size(image)
            # JPEG: decoded at an eighth of the size and up, which takes a third of the time.
            image.draft("L", (4 * _SIDE, 4 * _SIDE))
            gray = to_gray(image)
            stream.seek(0)
            content = hashlib.blake2b(stream.read(), digest_size=16).digest()
    except BadImageError as error:
        return ImageFacts(file, error.reason)
    picture = cv2.resize(gray, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
    return ImageFacts(
        file,
        size=size,
        content=content,
        look=perceptual_hash(picture),
        thumbnail=picture.tobytes(),
        flat=float(picture.std()) < _FLAT,
    )


def perceptual_hash(picture: np.ndarray) -> int:
    """64 bits: which of the lowest 8x8 frequencies are above their median.

    Args:
        picture (ndarray): gray, uint8, shape (32, 32).
    """
    low = cv2.dct(picture.astype(np.float32))[:_LOW, :_LOW].ravel()
    bits = low > np.median(low[1:])  # the first is the mean brightness
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
