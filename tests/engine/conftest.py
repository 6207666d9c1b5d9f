"""A small VOC and Watercolor2k, once for a file of tests."""

from __future__ import annotations

import pytest

from tests.data.trees import make_tiny_voc


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return make_tiny_voc(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def tiny_datasets(datasets, monkeypatch):
    """They are where data sets are looked for."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))
