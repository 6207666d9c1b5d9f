from __future__ import annotations

from pathlib import Path

from metaalign_det.miniatures.splits import mini_splits
from metaalign_det.roots import datasets_root, resolve_root


def test_a_relative_root_of_all_data_sets_is_joined_only_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    found = datasets_root() / "mini_digits"
    assert resolve_root(found) == found == tmp_path / "datasets" / "mini_digits"


def test_a_tilde_means_the_same_to_all_data_sets(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DETECTRON2_DATASETS", "~/data")
    assert datasets_root() == tmp_path / "data" == datasets_root("~/data")
    tree, _ = mini_splits()["mini_photo_train"]
    assert tree == tmp_path / "data" / "mini_voc2watercolor" / "photo"
    # Registered relative: resolved when the data are read.
    assert mini_splits("")["mini_photo_train"][0] == Path("mini_voc2watercolor/photo")


def test_a_tilde_of_nobody_is_a_name(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert resolve_root("~nobody_here/x") == tmp_path / "~nobody_here" / "x"
    assert datasets_root("~nobody_here/x") == Path("~nobody_here/x")
    monkeypatch.setenv("DETECTRON2_DATASETS", "~nobody_here")
    assert datasets_root() == Path("~nobody_here").absolute()


def test_dots_lead_where_the_operating_system_would_go(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    assert resolve_root(tmp_path / "link" / ".." / "photos") == tmp_path / "far" / "photos"
    assert resolve_root(tmp_path / "link" / "photos") == tmp_path / "link" / "photos"
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "far"))
    assert resolve_root("../photos") == tmp_path / "photos"
