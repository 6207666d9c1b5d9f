"""One look at every image file."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from metaalign_det.data.doctor.image_facts import look_at, perceptual_hash, read_facts
from metaalign_det.data.formats.image_headers import read_image_sizes
from metaalign_det.data.views.images import read_image


def photo(size=(640, 480)):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (7, 9, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def upright(file):
    height, width, _ = read_image(file).shape
    return width, height


def bits(a, b):
    return (a ^ b).bit_count()


def test_a_scaled_recompressed_or_brighter_copy_looks_the_same(tmp_path):
    photo().save(tmp_path / "a.png")
    photo().resize((200, 150)).save(tmp_path / "b.jpg", quality=60)
    Image.eval(photo(), lambda v: min(255, v + 12)).save(tmp_path / "c.jpg")
    photo().transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "d.jpg")
    a, b, c, d = (look_at(str(tmp_path / name)) for name in ("a.png", "b.jpg", "c.jpg", "d.jpg"))
    assert bits(a.look, b.look) <= 4 and bits(a.look, c.look) <= 4 < 16 < bits(a.look, d.look)
    assert a.content != b.content and a.size == (640, 480) and not a.flat


def test_what_is_wrong_with_a_file_is_a_fact(tmp_path):
    photo().save(tmp_path / "whole.jpg")
    data = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    names = ("cut.jpg", "text.jpg", "empty.jpg", "missing.jpg")
    assert all(look_at(str(tmp_path / name)).error for name in names)
    assert look_at(str(tmp_path / "whole.jpg")).error is None


def test_the_size_is_that_of_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo((60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    assert look_at(str(tmp_path / "turned.jpg")).size == (40, 60)
    for turned in range(1, 9):
        photo((60, 40)).save(tmp_path / "turned.tif", tiffinfo={0x0112: turned})
        file = tmp_path / "turned.tif"
        assert look_at(str(file)).size == read_image_sizes([file])[0] == upright(file)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LAB"])
def test_images_of_every_mode_are_looked_at(tmp_path, mode):
    image = photo((50, 40))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    elif mode == "LAB":  # Pillow converts to it by profiles alone
        image = Image.frombytes("LAB", image.size, image.tobytes())
    else:
        image = image.convert(mode)
    image.save(tmp_path / "a.tif")
    facts = look_at(str(tmp_path / "a.tif"))
    assert facts.error is None and not facts.flat
    assert read_image(tmp_path / "a.tif", "L").shape == (40, 50, 1)


def test_a_white_image_shows_nothing(tmp_path):
    Image.new("RGB", (50, 40), "white").save(tmp_path / "white.png")
    assert look_at(str(tmp_path / "white.png")).flat


def test_several_at_a_time_are_found_to_be_what_they_are_one_by_one(tmp_path):
    files = []
    for n in range(40):
        files.append(str(tmp_path / f"{n}.png"))
        photo((30 + n, 40)).save(files[-1])
    facts = read_facts(files, jobs=4, progress=False)
    assert list(facts) == files and facts == read_facts(files, jobs=1, progress=False)


def test_the_hash_has_as_many_bits_above_as_below_the_median():
    picture = np.asarray(photo((32, 32)).convert("L"))
    assert 30 <= perceptual_hash(picture).bit_count() <= 33
