from __future__ import annotations

from metaalign_det.roots import datasets_root, resolve_root


def test_a_relative_root_of_all_data_sets_is_joined_only_once(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    found = datasets_root() / "mini_digits"
    assert resolve_root(found) == found == tmp_path / "datasets" / "mini_digits"
