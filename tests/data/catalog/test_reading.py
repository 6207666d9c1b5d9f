"""Each data set is read once per run."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.data.catalog.reading import read_once
from metaalign_det.errors import UserError


class Counted:
    """A registered function that counts how it is read."""

    def __init__(self, labelled=1, unlabelled=2):
        self.dicts = {True: self._dicts(labelled), False: self._dicts(unlabelled)}
        self.readings = []

    @staticmethod
    def _dicts(count):
        return [
            {"file_name": f"{i}.jpg", "image_id": i, "annotations": [], "width": 9, "height": 9}
            for i in range(count)
        ]

    def __call__(self):
        self.readings.append("labelled")
        return self.dicts[True]

    def without_labels(self):
        self.readings.append("unlabelled")
        return self.dicts[False]


def test_within_a_run_labelled_and_unlabelled_are_read_once_each(catalog):
    data = Counted()
    catalog.register("counted", data)
    with read_once():
        for _ in range(3):
            assert len(load_labelled("counted")) == 1
            assert len(load_unlabelled("counted")) == 2
        with read_once():  # a trainer within a command
            assert len(load_labelled("counted")) == 1
    assert data.readings == ["labelled", "unlabelled"]


def test_outside_a_run_nothing_is_kept(catalog):
    data = Counted()
    catalog.register("counted", data)
    with read_once():
        load_labelled("counted")
    data.dicts[True] = []
    with pytest.raises(UserError, match="'counted' has no images"):
        load_labelled("counted")
    assert data.readings == ["labelled"] * 2


def test_a_function_of_the_users_own_is_checked_once_and_its_images_are_measured_once(
    catalog, tmp_path
):
    calls = []
    Image.new("RGB", (30, 20)).save(tmp_path / "a.png")
    catalog.register(
        "own", lambda: calls.append(0) or [{"file_name": str(tmp_path / "a.png"), "annotations": 1}]
    )
    with read_once():
        for _ in range(2):
            (found,) = load_unlabelled("own")  # whose labels nobody looks at
        assert (found["width"], found["height"]) == (30, 20) and "annotations" not in found
        with pytest.raises(UserError, match="'annotations' must be a list"):
            load_labelled("own")
    assert len(calls) == 2


def test_what_one_caller_changes_no_other_sees(catalog):
    catalog.register("counted", Counted())
    with read_once():
        load_labelled("counted")[0]["annotations"].append("mine")
        assert load_labelled("counted")[0]["annotations"] == []
        load_labelled("counted").clear()
        assert len(load_labelled("counted")) == 1


def test_a_missing_file_names_the_data_set(catalog):
    catalog.register("lost", lambda: Path("/nowhere/list.txt").read_text())
    with pytest.raises(UserError, match="data set 'lost': /nowhere/list.txt does not exist"):
        load_labelled("lost")
