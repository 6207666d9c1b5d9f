"""Sizes of many image files, and whether each is all there, without decoding them."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from PIL import Image, UnidentifiedImageError

from ...errors import BadImageError, UserError
from .paths import require_file, show
from .problems import report

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

_Item = TypeVar("_Item")


def with_sizes(
    items: Iterable[_Item], file: Callable[[_Item], str | Path]
) -> list[tuple[_Item, tuple[int, int]]]:
    """Each item with the size of its image; those whose image was reported as bad are left out.

    Args:
        items: whatever has an image.
        file: from an item to the path of its image.

    Raises:
        BadImageError: as :func:`read_image_sizes`.
    """
    items = list(items)
    sizes = read_image_sizes([file(item) for item in items])
    return [(item, size) for item, size in zip(items, sizes) if size is not None]


def read_image_sizes(files: Sequence[str | Path]) -> list[tuple[int, int] | None]:
    """Width and height in pixels of every file, after EXIF rotation, as ``read_image`` gives them.

    Only headers are read. A file whose last bytes are not an end of image is decoded to find out,
    so that a truncated file is found at the price of 64 bytes a file.

    Args:
        files: paths of images in any of :data:`FORMATS`.

    Returns:
        list: (width, height) in the order of ``files``; None where a bad image is being collected
        (:mod:`.problems`).

    Raises:
        BadImageError: a file is missing, is no image, is truncated, or claims more than
            :data:`MAX_PIXELS`; names the first.
    """
    sizes: list[tuple[int, int] | None] = []
    many = len(files) >= _REPORT_EVERY
    if many:
        logger.info("checking the headers of %d images ...", len(files))
    with ThreadPoolExecutor(_THREADS) as pool:
        for size in pool.map(_try_size, map(str, files)):
            if isinstance(size, BadImageError):
                report(size)
                size = None
            sizes.append(size)
            if many and len(sizes) % _REPORT_EVERY == 0:
                logger.info("checked %d of %d images", len(sizes), len(files))
    return sizes


def require_image(file: str | Path, where: str = "", remedy: str = "") -> os.stat_result:
    """The status of an image file that is there; it is not opened.

    Args:
        file: its path.
        where: what names it, in front of the message.
        remedy: end of the message where it does not exist.

    Raises:
        BadImageError: it does not exist, cannot be looked at, or is a folder, a pipe or a device.
    """
    try:
        return require_file(Path(file), "image", remedy)
    except UserError as error:
        reason = str(error)
        for prefix in (f"image {file} ", f"image {show(str(file))} "):
            reason = reason.removeprefix(prefix)
        raise BadImageError(file, reason, where) from error


@contextmanager
def open_image(file: str | Path) -> Iterator[tuple[Image.Image, BinaryIO]]:
    """Open an image file and read its header; nothing is decoded.

    Args:
        file: path of an image in any of :data:`FORMATS`.

    Yields:
        the lazy image, and the open file.

    Raises:
        BadImageError: missing, a pipe or a folder, no image, damaged (within the ``with`` block
            too), or of more than :data:`MAX_PIXELS`.
    """
    status = require_image(file)
    try:
        with open(file, "rb") as stream, Image.open(stream, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise Image.DecompressionBombError(f"{width}x{height} pixels")
            yield image, stream
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise BadImageError(
            file, f"is not an image of a known format ({status.st_size} bytes): replace it"
        ) from error
    except Image.DecompressionBombError as error:
        raise BadImageError(
            file,
            f"claims more than {MAX_PIXELS // 10**6} million pixels ({error}): it is not decoded. "
            "Shrink it or cut it into tiles",
        ) from error
    except DECODE_ERRORS as error:
        raise BadImageError(
            file, f"cannot be read, it is truncated or damaged ({error}): replace it"
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


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of an opened image after EXIF rotation.

    A TIFF is loaded for it: Pillow turns it upright itself, and is sure of its size only then.
    """
    if image.format == "TIFF":
        image.load()
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)  # it lies on its side


def _try_size(file: str) -> tuple[int, int] | BadImageError:
    """An error is handed back rather than raised: who collects is known to the caller's thread."""
    try:
        return _read_size(file)
    except BadImageError as error:
        return error


def _read_size(file: str) -> tuple[int, int]:
    with open_image(file) as (image, stream):
        size = upright_size(image)
        stream.seek(max(0, os.fstat(stream.fileno()).st_size - _LAST_BYTES))
        complete = _END.get(image.format or "", b"\0no such end") in stream.read()
    if not complete:
        _decode(file)
    return size


def _decode(file: str) -> None:
    with open_image(file) as (image, _):
        image.load()
