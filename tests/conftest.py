"""One thread per process: fastest under load, and the same sums on every machine."""

from __future__ import annotations

import importlib
import logging
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.pop("METAALIGN_PLUGINS", None)  # whoever runs the tests may have some

from metaalign_det.cli.quiet import silence_third_party  # noqa: E402

silence_third_party()  # before Detectron2 is imported

import pytest  # noqa: E402
import torch  # noqa: E402
from detectron2.data import DatasetCatalog, MetadataCatalog  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _heard():
    """Detectron2's logging, once set up, keeps messages from pytest: not beyond one test."""
    yield
    for name in ("detectron2", "fvcore", "metaalign_det"):
        logging.getLogger(name).propagate = True


@pytest.fixture
def catalog():
    """Forget what a test registers."""
    importlib.import_module("metaalign_det.data")  # registers what is there for all tests
    before = set(DatasetCatalog.list())
    yield DatasetCatalog
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.pop(name, None)


@pytest.fixture
def double_proposals(monkeypatch):
    """Proposals are suppressed in float32, as torchvision needs it, also of double models."""
    from detectron2.modeling.proposal_generator import proposal_utils

    nms = proposal_utils.batched_nms
    monkeypatch.setattr(
        proposal_utils, "batched_nms", lambda boxes, scores, *a: nms(boxes, scores.float(), *a)
    )
