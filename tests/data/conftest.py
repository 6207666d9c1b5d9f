"""Tiny trees in the real layout as the data sets of a test."""

from __future__ import annotations

import pytest

from tests.data.trees import make_tiny_voc


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory):
    """VOC2007, VOC2012 and watercolor, six images a split; not to be written to."""
    return make_tiny_voc(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def datasets(tiny_root, monkeypatch):
    """The same as DETECTRON2_DATASETS."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tiny_root))
    return tiny_root


@pytest.fixture
def own_root(tmp_path, monkeypatch):
    """A VOC2007 and a watercolor tree as DETECTRON2_DATASETS that the test may spoil."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    return make_tiny_voc(tmp_path, images=4, trees=("VOC2007", "watercolor"))
