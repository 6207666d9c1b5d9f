"""A small VOC and Watercolor2k, once for a file of tests; logging as it was."""

from __future__ import annotations

import logging

import pytest

from tests.data.trees import make_tiny_voc


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    return make_tiny_voc(tmp_path_factory.mktemp("datasets"))


@pytest.fixture
def tiny_datasets(datasets, monkeypatch):
    """They are where data sets are looked for."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(datasets))


@pytest.fixture
def fresh_loggers():
    """Detectron2 keeps its handlers, and with them a test's captured streams, for ever."""
    from detectron2.utils.logger import setup_logger

    names = ("detectron2", "fvcore", "metaalign_det")
    before = {n: list(logging.getLogger(n).handlers) for n in names}
    setup_logger.cache_clear()
    yield
    setup_logger.cache_clear()
    for n in names:
        logging.getLogger(n).handlers = before[n]
        logging.getLogger(n).propagate = True
