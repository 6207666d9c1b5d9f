"""``python -m benchmarks.label_rules``: rules that name what a detector has found."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.label_rules import Finds, accuracies, find_objects, main, named_by_rule
from metaalign_det.explain.samples import Sample
from tests.tiny import tiny_cfg, tiny_model


@pytest.fixture
def finds():
    """Two clear clusters; a find of each is called by the other's name, and one is of nothing."""
    torch.manual_seed(0)
    truth = torch.tensor([0] * 20 + [1] * 20)
    features = torch.eye(2, 5)[truth] * 4 + 0.1 * torch.randn(40, 5)
    names = truth.clone()
    names[0], names[20] = 1, 0
    truth[1] = -1
    return Finds(features, names, torch.full((40,), 0.9), truth)


def test_clusters_correct_what_the_classifier_confuses(finds):
    right = accuracies(finds, num_classes=3)
    assert right["classifier"][0] == pytest.approx(100 * 37 / 39)
    assert right["nearest centroid"][:3] == [100, 100, 100]
    assert right["15 neighbours' names"][:3] == [100, 100, 100]
    assert math.isnan(right["classifier"][3])  # no object of the third class


def test_a_find_does_not_vote_for_itself(finds):
    finds = finds._replace(truth=torch.tensor([0, 0, 1] + [-1] * 37))
    votes = named_by_rule(finds, num_classes=2)["15 neighbours' true names"]
    assert votes[2] == 0  # its own name is the only 1


def test_a_folder_that_is_no_run_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path / "nothing"), "--data", "mini_openmoji_val"]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_finds_of_nothing_have_no_vote(finds):
    finds = finds._replace(truth=torch.tensor([1, 1, 0] + [-1] * 37))
    votes = named_by_rule(finds, num_classes=2)["15 neighbours' true names"]
    assert votes[2] == 1


def test_an_image_without_objects_holds_finds_of_nothing(monkeypatch):
    model = tiny_model(tiny_cfg()).eval()
    blank = Sample({"image": torch.zeros(3, 64, 64)}, np.zeros((0, 4)), np.zeros(0, int))
    monkeypatch.setattr("metaalign_det.explain.samples.read_samples", lambda *_: [blank])
    found = find_objects(SimpleNamespace(model=lambda: model, cfg=None), "d", 0.0)
    assert len(found.truth) > 0 and (found.truth == -1).all()
