"""Sizes of many image files, and whether each is all there, without decoding them."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ...errors import UserError

logger = logging.getLogger(__name__)

#: What decoding raises on a damaged file (PNG plug-ins of Pillow raise SyntaxError).
DECODE_ERRORS = (OSError, SyntaxError, Image.DecompressionBombError)

_ORIENTATION = 0x0112  # the EXIF tag
_REPORT_EVERY = 5000  # images between progress lines; that many take seconds on a slow disk
_THREADS = 8  # the work is waiting for the disk
_LAST_BYTES = 64
# How a complete file ends.
_END = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xae\x42\x60\x82"}

# (mtime, bytes) and (width, height) by file. Start-up checks, loader and evaluator all ask.
_known: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}


def read_image_sizes(files: Sequence[str | Path]) -> list[tuple[int, int]]:
    """Width and height in pixels of every file, after EXIF rotation, as Detectron2 reads them.

    Only headers are read. A file whose last bytes are not an end of image is decoded to find out,
    so that a truncated file is found at the price of 64 bytes a file. Results are kept while the
    files do not change.

    Args:
        files: paths of images in any format that Pillow reads.

    Returns:
        list[tuple[int, int]]: (width, height) in the order of ``files``.

    Raises:
        UserError: a file is missing, is no image, or is truncated; names the first.
    """
    sizes: list[tuple[int, int]] = []
    report = sum(str(file) not in _known for file in files) >= _REPORT_EVERY
    if report:
        logger.info("checking the headers of %d images ...", len(files))
    with ThreadPoolExecutor(_THREADS) as pool:
        for size in pool.map(_read_size, map(str, files)):
            sizes.append(size)
            if report and len(sizes) % _REPORT_EVERY == 0:
                logger.info("checked %d of %d images", len(sizes), len(files))
    return sizes


def _read_size(file: str) -> tuple[int, int]:
    try:
        status = os.stat(file)
        stamp = (status.st_mtime_ns, status.st_size)
        if file in _known and _known[file][0] == stamp:
            return _known[file][1]
        with open(file, "rb") as stream:
            with Image.open(stream) as image:
                size = image.size
                if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):  # lies on its side
                    size = size[::-1]
                stream.seek(max(0, stamp[1] - _LAST_BYTES))
                complete = _END.get(image.format or "", b"\0no such end") in stream.read()
            if not complete:
                _decode(file)
    except FileNotFoundError as error:
        raise UserError(f"image {file} does not exist") from error
    except UnidentifiedImageError as error:
        raise UserError(f"image {file} is not an image ({stamp[1]} bytes): replace it") from error
    except DECODE_ERRORS as error:
        raise UserError(
            f"image {file} cannot be read, it is truncated or damaged ({error}): replace it"
        ) from error
    _known[file] = (stamp, size)
    return size


def _decode(file: str) -> None:
    with Image.open(file) as image:
        image.load()
