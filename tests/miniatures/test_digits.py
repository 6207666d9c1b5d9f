"""Mini Digits: the same bytes for the same seed, no digit in two splits, nothing foreign lost."""

from __future__ import annotations

import errno
import json

import numpy as np
import pytest
from detectron2.data import DatasetCatalog

from metaalign_det.data.catalog.builtin_classification import register_builtin_classification
from metaalign_det.data.catalog.classes import check_held_out, classes_of
from metaalign_det.data.formats.class_names import ClassRule
from metaalign_det.data.formats.image_list import read_folder
from metaalign_det.errors import UserError
from metaalign_det.miniatures import digits, store
from metaalign_det.miniatures.digits import draw_image, ensure_mini_digits
from tests.folders import contents

pytest.importorskip("sklearn")

SMALL = dict.fromkeys(digits.SIZES, 20)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    return ensure_mini_digits(tmp_path_factory.mktemp("a"), sizes=SMALL)


def test_layout_is_a_folder_per_class_in_every_split(generated):
    for split in digits.SIZES:
        _, dicts = read_folder(generated / split, ClassRule(digits.CLASSES))
        assert len(dicts) == 20
        assert [d["label"] for d in dicts] == [i // 2 for i in range(20)]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(generated, tmp_path):
    again = contents(ensure_mini_digits(tmp_path, sizes=SMALL, progress=False))
    assert again == contents(generated)
    other = contents(ensure_mini_digits(tmp_path / "b", sizes=SMALL, seed=1))
    assert not set(other.values()) & set(again.values())


def test_an_image_does_not_depend_on_the_size_of_its_split(generated, tmp_path):
    larger = ensure_mini_digits(tmp_path, sizes=dict.fromkeys(SMALL, 30))
    small, large = contents(generated), contents(larger)
    assert all(large[file] == small[file] for file in small if file.suffix == ".png")


def test_no_digit_is_in_two_splits_and_all_are_in_one():
    pools = [np.concatenate(classes) for classes in digits._pools(0)]
    together = np.concatenate(pools)
    assert len(together) == len(set(together.tolist())) == 1797
    assert min(len(pool) for pool in pools) > 150


def test_source_is_ink_on_black_and_target_is_its_difference_with_a_photograph():
    source, label = draw_image("source_train", 4)
    assert source.shape == (32, 32, 3) and source.dtype == np.uint8 and label == 4
    assert (source[..., 0] == source[..., 1]).all() and (source[..., 0] == source[..., 2]).all()
    assert source.max() > 200 and (source[[0, -1]] == 0).all()
    target, _ = draw_image("target_train", 4)
    assert (target[..., 0] != target[..., 2]).mean() > 0.3
    assert np.median(target) > 0


def test_images_of_one_class_differ():
    images = {draw_image("source_train", i)[0].tobytes() for i in range(0, 100, 10)}
    assert len(images) == 10


def test_what_is_there_is_reused_and_what_differs_is_replaced(tmp_path):
    folder = ensure_mini_digits(tmp_path, sizes=SMALL)
    first = (folder / "source_test/3/00003.png").stat().st_mtime_ns
    ensure_mini_digits(tmp_path, sizes=SMALL)
    assert (folder / "source_test/3/00003.png").stat().st_mtime_ns == first
    ensure_mini_digits(tmp_path, sizes={**SMALL, "target_val": 10})
    assert len(list((folder / "target_val").rglob("*.png"))) == 10
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["counts"]["target_val"] == 10 and manifest["seed"] == 0
    assert "CC BY" in manifest["licences"]["china.jpg"]


def test_the_registered_sets_use_what_was_generated_with_settings_of_its_own(
    tmp_path, monkeypatch, catalog
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_builtin_classification()
    ensure_mini_digits(tmp_path, sizes=SMALL, seed=3)
    assert len(DatasetCatalog.get("mini_digits_target_val")) == 20
    assert classes_of("mini_digits_source_train") == digits.CLASSES
    check_held_out(["mini_digits_source_train"], ["mini_digits_target_train"])


def test_an_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="target_dev"):
        ensure_mini_digits(tmp_path, sizes={"target_dev": 5})


class TestStore:
    MANIFEST = {"generator": "test", "version": 1}

    def write(self, folder):
        (folder / "data").write_text("new")

    def test_a_failed_build_leaves_nothing_behind(self, tmp_path):
        def fail(folder):
            self.write(folder)
            raise RuntimeError("interrupted")

        with pytest.raises(RuntimeError):
            store.build_once(tmp_path / "set", self.MANIFEST, fail)
        assert [p.name for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == []
        assert (store.build_once(tmp_path / "set", self.MANIFEST, self.write) / "data").exists()

    @pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT])
    def test_a_place_that_cannot_be_written_is_named_with_the_remedy(self, tmp_path, number):
        def fail(folder):
            raise OSError(number, "?")

        with pytest.raises(UserError, match=r"write .*set: .*DETECTRON2_DATASETS, or --root"):
            store.build_once(tmp_path / "set", self.MANIFEST, fail)

    def test_what_a_place_cannot_help_keeps_its_traceback(self, tmp_path):
        def fail(folder):
            raise BlockingIOError(errno.EAGAIN, "no process to be had")

        with pytest.raises(BlockingIOError):
            store.build_once(tmp_path / "set", self.MANIFEST, fail)

    def test_a_failed_replacement_keeps_what_was_there(self, tmp_path):
        def fail(folder):
            raise RuntimeError("interrupted")

        store.build_once(tmp_path / "set", self.MANIFEST, self.write)
        with pytest.raises(RuntimeError):
            store.build_once(tmp_path / "set", {**self.MANIFEST, "version": 2}, fail)
        assert store.read_manifest(tmp_path / "set") == self.MANIFEST

    def test_left_overs_of_a_killed_build_do_not_matter(self, tmp_path):
        (tmp_path / ".set.building").mkdir()
        (tmp_path / ".set.building" / "half").write_text("")
        folder = store.build_once(tmp_path / "set", self.MANIFEST, self.write)
        assert sorted(p.name for p in folder.iterdir()) == ["data", "manifest.json"]
        assert not (tmp_path / ".set.building").exists()

    @pytest.mark.parametrize("theirs", [None, "{", '{"generator": "another"}'])
    def test_a_foreign_folder_is_never_touched(self, theirs, tmp_path):
        folder = tmp_path / "set"
        folder.mkdir()
        (folder / "precious").write_text("work")
        if theirs:
            (folder / "manifest.json").write_text(theirs)
        with pytest.raises(UserError, match="not generated by test"):
            store.build_once(folder, self.MANIFEST, self.write)
        assert (folder / "precious").read_text() == "work"

    def test_foreign_files_in_a_generated_folder_are_not_deleted(self, tmp_path):
        folder = store.build_once(tmp_path / "set", self.MANIFEST, self.write)
        (folder / "precious").write_text("work")
        assert store.build_once(folder, self.MANIFEST, self.write) == folder
        with pytest.raises(UserError, match="precious"):
            store.build_once(folder, {**self.MANIFEST, "version": 2}, self.write)
        assert (folder / "precious").read_text() == "work"

    def test_a_root_that_is_a_file_is_a_clear_error(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="DETECTRON2_DATASETS"):
            store.build_once(tmp_path / "file" / "set", self.MANIFEST, self.write)
