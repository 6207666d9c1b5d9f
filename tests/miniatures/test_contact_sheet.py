"""The pictures people look at, and the tool that makes them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from metaalign_det.cli.__main__ import main
from metaalign_det.errors import UserError
from metaalign_det.miniatures.contact_sheet import (
    contact_sheet,
    draw_boxes,
    glyph_sheet,
    save_sheet,
)
from metaalign_det.miniatures.generate import draw
from metaalign_det.miniatures.sprites import glyph_pool

pytest.importorskip("resvg_py")
pytest.importorskip("sklearn")


def run_tool(*arguments):
    return main(["make-data", *map(str, arguments)])


def test_boxes_change_the_sheet_only_where_they_are_drawn():
    picture = draw((0, 9, 1), glyph_pool(("twemoji",), True), 0.75)
    changed = (draw_boxes(picture) != picture.image).any(-1)
    x0, y0, x1, y1 = picture.objects[0].box
    assert changed[y0, x0:x1].mean() > 0.9 and changed[y1 - 1, x0:x1].mean() > 0.9
    assert changed.mean() < 0.3


def test_a_sheet_has_a_row_per_style():
    with_boxes, without = contact_sheet(columns=1), contact_sheet(columns=1, boxes=False)
    assert with_boxes.shape == without.shape == (9 * 177, 163, 3)
    assert (with_boxes != without).any()


def test_the_glyph_sheet_is_drawn_and_written(tmp_path):
    sheet = glyph_sheet()
    path = save_sheet(sheet, tmp_path / "new" / "glyphs.png")
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], sheet)


def test_other_formats_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"\.png or \.jpg"):
        save_sheet(np.zeros((2, 2, 3), np.uint8), tmp_path / "sheet.tiff")


def test_the_tool_generates_and_prints_the_folder(tmp_path, capsys):
    names = ("photo_train", "photo_test", "watercolor_train", "watercolor_val", "watercolor_test")
    sizes = [f"mini_{name}=1" for name in (*names, "mixed_test")]
    assert run_tool("--root", tmp_path, "--workers", 1, "--sizes", *sizes) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "mini_voc2watercolor")
    assert len(list(tmp_path.rglob("*.jpg"))) == 6


def test_the_tool_reports_a_bad_value_in_one_line(tmp_path, capsys):
    assert run_tool("--root", tmp_path, "--strength", 2) == 2
    assert capsys.readouterr().err.strip() == "error: strength must be in [0, 1], not 2.0"
