"""What a report may be written over, and what arguments are refused."""

from __future__ import annotations

import os

import pytest

from metaalign_det.errors import UserError
from metaalign_det.reports.run_report import write_report


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "voc/AP75"}, "--metric voc/AP75: no run has it; they have voc/AP50_11pt"),
        ({"target": "gone_test"}, "--target gone_test: no run has been tested on it"),
        ({"baseline": "gone"}, "--baseline 'gone' is none of"),
    ],
)
def test_what_does_not_exist_is_named(runs, tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        write_report(runs, tmp_path / "report.html", **arguments)


def test_the_output_is_an_html_file(runs, tmp_path):
    with pytest.raises(UserError, match="name it"):
        write_report(runs, tmp_path / "report")


@pytest.mark.parametrize("name", ["metrics", "result", "Selection"])
def test_a_report_is_not_written_over_the_files_of_a_run(runs, name):
    folder = runs["before"] / "seed0"
    before = {f: f.read_bytes() for f in folder.iterdir() if f.is_file()}
    with pytest.raises(UserError, match=f"{name}.html: beside it goes {name}.json"):
        write_report([folder], folder / f"{name}.html")
    assert {f: f.read_bytes() for f in folder.iterdir() if f.is_file()} == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("notes.md", "# Notes\n\nOf my runs."),
        ("notes.json", '{"title": "Notes", "summary": "mine"}'),
        ("notes.json", "[1]"),
        ("notes.json", "no JSON"),
    ],
)
def test_what_lies_beside_the_page_and_is_no_report_is_not_written_over(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    # Before any work: that there is no such run has not been looked at.
    with pytest.raises(UserError, match=f"{name} that is there is no earlier report"):
        write_report([tmp_path / "gone"], tmp_path / "notes.html")
    assert (tmp_path / name).read_text() == text
    assert len(list(tmp_path.iterdir())) == 1


def test_a_page_that_is_no_report_is_not_written_over(runs, tmp_path):
    (tmp_path / "report.html").write_text("<p>of pytest</p>")
    with pytest.raises(UserError, match="report.html: the .*report.html that is there is no earl"):
        write_report(runs, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text() == "<p>of pytest</p>"


def test_labels_that_are_not_utf_8_are_escaped(runs, tmp_path):
    label = os.fsdecode(b"caf\xe9")
    page = write_report({label: runs["before"]}, tmp_path / "report.html")
    html, markdown = page.read_text(), page.with_suffix(".md").read_text()
    assert "caf\\udce9" in html and "caf\\udce9" in markdown
