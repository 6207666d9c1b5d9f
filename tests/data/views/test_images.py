"""Images as a person sees them."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from metaalign_det.data.formats.image_headers import MAX_PIXELS, read_image_sizes
from metaalign_det.data.views.images import read_image
from metaalign_det.errors import UserError


def saved(tmp_path, image, name="image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def random_pixels(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("name", ["i.png", "i.jpg", "i.bmp", "i.webp", "i.tif", "i.gif", "i.ppm"])
@pytest.mark.parametrize("format", ["RGB", "BGR", "L"])
def test_equals_detectron2_on_8_bit_color(tmp_path, name, format):
    path = saved(tmp_path, Image.fromarray(random_pixels(20, 30, 3)), name)
    image = read_image(path, format)
    assert image.dtype == np.uint8
    assert np.array_equal(image, detection_utils.read_image(str(path), format))


@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path, name):
    gray = np.array([[0, 257, 32896, 65535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(gray), name)
    assert read_image(path)[0, :, 0].tolist() == [0, 1, 128, 255]
    assert read_image(path, "L").shape == (1, 4, 1)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0, 0.5, 1.0], [0, 128, 255]), ([0, 100, 255], [0, 100, 255]), ([-5, 0, 5], [0, 128, 255])],
)
def test_floating_point(tmp_path, values, expected):
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "f.tif")
    assert read_image(path)[0, :, 0].tolist() == expected


def test_more_than_sixteen_bits_are_stretched(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[0, 10**6]], np.int32)), "i.tif")
    assert read_image(path)[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_shows_white(tmp_path, mode):
    color = (10, 20, 30, 0) if mode == "RGBA" else (10, 0)
    path = saved(tmp_path, Image.new(mode, (3, 2), color))
    assert (read_image(path) == 255).all()
    half = saved(tmp_path, Image.new("LA", (3, 2), (0, 128)), "half.png")
    assert set(read_image(half).ravel()) == {127}


def test_a_transparent_color_of_a_palette(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    path = saved(tmp_path, image, transparency=0)
    assert read_image(path, "RGB")[0].tolist() == [[255, 255, 255], [0, 0, 255]]


def test_cmyk_and_bilevel(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "c.jpg", quality=100)
    red = read_image(path, "RGB")[4, 4].tolist()
    assert red[0] > 250 and max(red[1:]) < 5
    path = saved(tmp_path, Image.new("1", (3, 2), 1))
    assert (read_image(path) == 255).all()


@pytest.mark.parametrize("name", ["i.png", "i.jpg", "i.webp", "i.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_upright_once_as_the_sizes_say(tmp_path, orientation, name):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if name == "i.webp" else {"quality": 100}
    pixels = np.kron(random_pixels(4, 7, 3), np.ones((16, 16, 1), np.uint8))
    path = saved(tmp_path, Image.fromarray(pixels), name, exif=exif, **options)
    image = read_image(path, "RGB")
    upright = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels[::-1].swapaxes(0, 1),
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: pixels[:, ::-1].swapaxes(0, 1),
    }[orientation]
    assert image.shape == upright.shape and read_image_sizes([path]) == [image.shape[1::-1]]
    assert np.abs(image.astype(int) - upright).mean() < 10  # a JPEG blurs colors


def png_of(width, height):
    """A valid header of a PNG that claims a size, with no pixels worth the name behind it."""

    def chunk(kind, data):
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(MAX_PIXELS // 1000 + 1, 1000), (60000, 60000)])
def test_decompression_bombs_are_refused_from_the_header(tmp_path, size):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of(*size))
    for read in (read_image, lambda p: read_image_sizes([p])):
        with pytest.raises(UserError, match="bomb.png claims more than 100 million pixels"):
            read(path)


def test_files_that_are_no_images(tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "eps.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    whole = saved(tmp_path, Image.fromarray(random_pixels(50, 50, 3)), "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:2000])
    for name, message in [
        ("text.jpg", "is not an image"),
        ("eps.jpg", "is not an image"),
        ("folder.jpg", "is a folder"),
        ("pipe.jpg", "is a pipe"),
        ("cut.png", "truncated or damaged"),
        ("gone.jpg", "does not exist"),
        ("x" * 300, "File name too long"),
    ]:
        with pytest.raises(UserError, match=message):
            read_image(tmp_path / name)


def test_an_unknown_format_is_named(tmp_path):
    with pytest.raises(UserError, match="INPUT.FORMAT must be RGB, BGR, L, not 'YUV'"):
        read_image(tmp_path / "a.png", "YUV")
