"""metaalign-det report: what it takes and where it writes."""

from __future__ import annotations

import argparse
import os

import pytest

from metaalign_det.cli import report
from metaalign_det.errors import UserError

from ..reports.run_report.make_runs import write_detector


def run(*argv):
    parser = argparse.ArgumentParser()
    report.add_arguments(parser)
    return report.run(parser.parse_args(list(map(str, argv))))


def test_it_writes_beside_the_runs_and_says_where(tmp_path, capsys):
    for name, score in (("plain", 40.0), ("adapted", 50.0)):
        write_detector(tmp_path / "all" / name, 0, score, adapts=name == "adapted")
    assert run(f"before={tmp_path}/all/plain", f"after={tmp_path}/all/adapted") == 0
    path = tmp_path / "all" / "report.html"
    assert f"{path} (and .md, .json)" in capsys.readouterr().out
    assert "after is better on the target" in path.read_text()
    assert path.with_suffix(".json").is_file()


def test_a_folder_may_have_an_equals_sign(tmp_path):
    (tmp_path / "lr=0.1").mkdir()
    folder = str(tmp_path / "lr=0.1")
    assert report.read_labels([folder, "a=b"]) == [("", folder), ("a", "b")]
    with pytest.raises(UserError, match="=b: give a folder, or LABEL=FOLDER"):
        report.read_labels(["=b"])


def test_runs_without_a_folder_in_common_need_a_place_to_write():
    assert report.default_output(["/a/b/c", "/a/b/d"]) == os.path.join("/a/b", "report.html")
    with pytest.raises(UserError, match="--output FILE"):
        report.default_output(["/a/b", "/c/d"])


def test_a_folder_that_is_no_run_is_a_mistake_of_the_users(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        run(tmp_path / "gone")
