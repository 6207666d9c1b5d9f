"""One annotation file of a VOC tree."""

from __future__ import annotations

import pytest

from metaalign_det.data.formats.voc_xml import read_annotation
from metaalign_det.errors import UserError


def difficult(path, text):
    flag = "" if text is None else f"<difficult>{text}</difficult>"
    path.write_text(f"<annotation><object><name>cat</name>{flag}</object></annotation>")
    return read_annotation(path).objects[0].difficult


def test_tools_write_difficult_as_a_number_or_a_word(tmp_path):
    path = tmp_path / "a.xml"
    assert all(difficult(path, text) for text in ("1", " 1 ", "1.0", "2", "true", "True"))
    assert not any(
        difficult(path, text) for text in (None, "", "0", "-1", "false", "no", "Unspecified")
    )
    with pytest.raises(UserError, match="a.xml: <difficult> of 'cat' must be 0 or 1, not 'maybe'"):
        difficult(path, "maybe")


def test_xml_of_another_kind_is_no_image_without_objects(tmp_path):
    path = tmp_path / "a.xml"
    path.write_text("<metadata><camera>x</camera></metadata>")
    with pytest.raises(UserError, match="a.xml is XML of another kind: it is a 'metadata'"):
        read_annotation(path)
    path.write_text("<annotation/>")
    assert read_annotation(path).objects == ()
