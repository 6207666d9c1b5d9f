"""Sizes of many image files, and whether each is all there, without decoding them."""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from ...errors import UserError
from .paths import require_file

logger = logging.getLogger(__name__)

#: Largest image that is decoded, in pixels: 0.3 GB as RGB, more than any common camera takes. A
#: file of some kilobytes can claim billions; the claim is in its header, and is refused there.
MAX_PIXELS = 100_000_000

#: Image formats that are opened, by Pillow's names (MPO, stereo pairs, comes as JPEG). Not EPS,
#: which Pillow hands to another program, nor formats that nobody takes pictures in.
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "WEBP", "PPM", "TIFF", "GIF")

#: What opening or decoding a damaged file raises in one of Pillow's plug-ins.
DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,  # text chunks that decompress to too much, impossible sizes
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    EOFError,
    NotImplementedError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

_ORIENTATION = 0x0112  # the EXIF tag
_REPORT_EVERY = 5000  # images between progress lines; that many take seconds on a slow disk
_THREADS = 8  # the work is waiting for the disk
_LAST_BYTES = 64
# How a complete file ends.
_END = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xae\x42\x60\x82"}

# (mtime, bytes) and (width, height) by file. Start-up checks, loader and evaluator all ask.
_known: dict[str, tuple[tuple[int, int], tuple[int, int]]] = {}


def read_image_sizes(files: Sequence[str | Path]) -> list[tuple[int, int]]:
    """Width and height in pixels of every file, after EXIF rotation, as ``read_image`` gives them.

    Only headers are read. A file whose last bytes are not an end of image is decoded to find out,
    so that a truncated file is found at the price of 64 bytes a file. Results are kept while the
    files do not change.

    Args:
        files: paths of images in any of :data:`FORMATS`.

    Returns:
        list[tuple[int, int]]: (width, height) in the order of ``files``.

    Raises:
        UserError: a file is missing, is no image, is truncated, or claims more than
            :data:`MAX_PIXELS`; names the first.
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


@contextmanager
def open_image(file: str | Path) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open an image file and read its header; nothing is decoded.

    Args:
        file: path of an image in any of :data:`FORMATS`.

    Yields:
        the lazy image, and the open file.

    Raises:
        UserError: missing, a pipe or a folder, no image, damaged (within the ``with`` block too),
            or of more than :data:`MAX_PIXELS`.
    """
    status = require_file(Path(file), "image")
    try:
        with open(file, "rb") as stream, Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width}x{height} pixels")
            yield image, stream
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UserError(
            f"image {file} is not an image of a known format ({status.st_size} bytes): replace it"
        ) from error
    except Image.DecompressionBombError as error:
        raise UserError(
            f"image {file} claims more than {MAX_PIXELS // 10**6} million pixels ({error}): it is "
            "not decoded. Shrink it or cut it into tiles"
        ) from error
    except DECODE_ERRORS as error:
        raise UserError(
            f"image {file} cannot be read, it is truncated or damaged ({error}): replace it"
        ) from error


def orientation(image: Image.Image) -> int:
    """EXIF orientation of an image, 1 to 8; 1 = as stored, also where the EXIF is damaged.

    A TIFF must be loaded before: Pillow turns it upright then.
    """
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except DECODE_ERRORS:  # the pixels may be fine all the same
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _read_size(file: str) -> tuple[int, int]:
    status = require_file(Path(file), "image")
    stamp = (status.st_mtime_ns, status.st_size)
    if file in _known and _known[file][0] == stamp:
        return _known[file][1]
    with open_image(file) as (image, stream):
        if image.format == "TIFF":
            image.load()  # Pillow turns it upright itself then, and only then knows its size
        size = image.size
        if orientation(image) >= 5:  # lies on its side
            size = size[::-1]
        stream.seek(max(0, stamp[1] - _LAST_BYTES))
        complete = _END.get(image.format or "", b"\0no such end") in stream.read()
    if not complete:
        _decode(file)
    _known[file] = (stamp, size)
    return size


def _decode(file: str) -> None:
    with open_image(file) as (image, _):
        image.load()
