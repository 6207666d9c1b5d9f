"""KITTI and Sim10k as their archives unpack."""

from __future__ import annotations

import pytest

from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import make_tiny_kitti, make_tiny_sim10k


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return make_tiny_kitti(tmp_path)


def test_cars_only_and_regions_without_labels_passed_over(root):
    dicts = load_labelled("kitti_car_train")
    assert [d["image_id"] for d in dicts] == ["000000", "000001"]
    (car,) = dicts[0]["annotations"]
    assert car["bbox"] == [10.5, 20, 40.25, 50] and car["category_id"] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Car 0.00 0 -1.57 10.50", "line 1: 5 fields where KITTI has 15"),
        ("Car 0 0 0 30 20 10 50 1 1 1 1 1 1 1", "line 1: the box 30 20 10 50 is inverted"),
        ("Car 0 0 0 30 20 inf 50 1 1 1 1 1 1 1", "a corner of the box must be a finite number"),
    ],
)
def test_a_wrong_line_is_named(root, line, message):
    (root / "label_2" / "000001.txt").write_text(line)
    with pytest.raises(UserError, match=f"000001.txt, {message}|000001.txt.*{message}"):
        load_labelled("kitti_car_train")
    assert len(load_unlabelled("kitti_car_train")) == 2


@pytest.mark.parametrize("moved", [False, True])
def test_sim10k_with_or_without_the_folder_of_its_archive(root, moved, tmp_path):
    tree = make_tiny_sim10k(tmp_path)
    if moved:
        for folder in list(tree.iterdir()):
            folder.rename(tree.parent / folder.name)
        tree.rmdir()
    dicts = load_labelled("sim10k_train")
    assert len(dicts) == 2
    assert [a["bbox"] for a in dicts[0]["annotations"]] == [[0, 0, 30, 20]]  # the car
