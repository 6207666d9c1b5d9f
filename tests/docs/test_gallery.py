"""The gallery shows pictures that are there, and commands that are legal."""

from __future__ import annotations

import argparse
import re
import shlex
from dataclasses import replace

import pytest

from docs import make_gallery
from metaalign_det.cli import explain
from tests.explain.conftest import *  # noqa: F403  (its fixtures)

PAGE = (make_gallery.DOCS / "gallery.md").read_text(encoding="utf-8")


def test_every_picture_is_there_small_and_of_a_section():
    names = re.findall(r"\]\(pictures/gallery/([^)]+)\)", PAGE)
    assert set(names) == {p.name for s in make_gallery.SECTIONS for p in s.pictures}
    assert set(names) == {p.name for p in make_gallery.PICTURES.iterdir()}
    for name in names:
        assert (make_gallery.PICTURES / name).stat().st_size < 200_000


def test_every_command_on_the_page_is_legal():
    commands = re.findall(r"^metaalign-det explain (.+)$", PAGE, flags=re.MULTILINE)
    assert len(commands) == sum(len(s.pictures) for s in make_gallery.SECTIONS)
    parser = argparse.ArgumentParser()
    explain.add_arguments(parser)
    for command in commands:
        parser.parse_args(shlex.split(command))


def test_a_page_is_made_from_the_runs_that_are_there(run_folders, datasets, tmp_path, monkeypatch):
    monkeypatch.setattr(make_gallery, "PICTURES", tmp_path / "pictures")
    section = make_gallery.SECTIONS[0]
    few = replace(section, options=("--images", "3", "--show", "1"))
    missing = replace(section, methods=("dann",))
    page = make_gallery.make([few, missing], [run_folders])
    assert {p.name for p in (tmp_path / "pictures").iterdir()} == {p.name for p in few.pictures}
    assert f"SW-DA={run_folders}/runs/swda" in page
    assert "DANN" not in page


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 0.2, "more"), (-0.2, -0.1, "less"), (-0.1, 0.1, "not told")]
)
def test_a_verdict_follows_the_interval(low, high, said):
    assert make_gallery.verdict({"low": low, "high": high}, "more", "less").startswith(said)
