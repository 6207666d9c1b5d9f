from __future__ import annotations

import json

import pytest

from metaalign_det.errors import UserError
from metaalign_det.explain.record import Record, markdown_table


def test_nothing_is_overwritten_silently(tmp_path):
    record = Record(tmp_path / "out", ["a.json", "b.md"])
    record.write_json("a.json", {"x": float("nan")})
    with pytest.raises(UserError, match=r"already holds a\.json.*--overwrite"):
        Record(tmp_path / "out", ["a.json", "b.md"])
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == {"x": None}
    Record(tmp_path / "out", ["a.json"], overwrite=True).write_json("a.json", {"x": 1})


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    (tmp_path / "mine.txt").touch()
    assert Record(tmp_path, ["a.json"]).path("a.json") == tmp_path / "a.json"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UserError, match="is a file"):
        Record(tmp_path / "out", ["a.json"])


def test_only_announced_files_are_written(tmp_path):
    with pytest.raises(ValueError, match="not announced"):
        Record(tmp_path, ["a.json"]).path("b.json")


def test_a_page_ends_with_its_command(tmp_path):
    record = Record(tmp_path, ["a.md", "b.png"])
    written = record.finish("a.md", "T", ["text", "more"], "metaalign-det x")
    page = (tmp_path / "a.md").read_text()
    assert page == "# T\n\ntext\n\nmore\n\n```\nmetaalign-det x\n```\n"
    assert written.files == ("a.md",)
    assert written.text == "text\n\nmore"


def test_a_table_has_a_line_a_row():
    assert markdown_table(["", "x"], [["a", 1]]) == "|  | x |\n|:--|--:|\n| a | 1 |"
