"""Candidates are compared under the ensemble of all of them."""

from __future__ import annotations

import math

import pytest
import torch

from metaalign_det.engine.selection_committee import Committee
from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free import Validator
from metaalign_det.evaluation.label_free.ensemble import ENSV


def divergence(inputs):
    """KL(p || ensemble), mean over images."""
    p = inputs.target.probabilities.double()
    return (p * (p / inputs.ensemble).log()).sum(dim=1).mean()


ENS_KL = Validator("ens_kl", "classification", ("target", "ensemble"), False, divergence, "")


def test_the_committee_scores_earlier_candidates_under_the_grown_ensemble():
    cat, dog = [0.9, 0.1], [0.2, 0.8]
    committee = Committee()
    committee.add(1, torch.tensor([cat, cat]))
    assert committee.scores(ENSV) == {1: 1.0}
    committee.add(3, torch.tensor([dog, cat]))
    committee.add(5, torch.tensor([dog, cat]))
    # Mean on the first image: (0.9 + 0.2 + 0.2) / 3 < 1/2.
    assert committee.scores(ENSV) == {1: 0.5, 3: 1.0, 5: 1.0}
    assert committee.mean[0, 0] == pytest.approx(1.3 / 3, abs=1e-6)
    with pytest.raises(UserError, match="the target images are not those of the earlier"):
        committee.add(7, torch.tensor([cat]))


def test_a_candidate_that_has_diverged_neither_votes_nor_is_chosen():
    cat, dog, lost = [0.9, 0.1], [0.2, 0.8], [float("nan")] * 2
    committee = Committee()
    committee.add(1, torch.tensor([lost, cat]))
    assert math.isnan(committee.scores(ENSV)[1]) and committee.mean.isnan().all()
    committee.add(3, torch.tensor([dog, cat]))
    resumed = Committee()
    resumed.load_state_dict(committee.state_dict())
    for one in (committee, resumed):
        assert one.scores(ENSV)[3] == 1.0 and math.isnan(one.scores(ENSV)[1])
        assert torch.allclose(one.mean, torch.tensor([dog, cat], dtype=torch.float64))


def test_probabilities_are_remembered_where_classes_are_not_all_that_is_compared():
    two = [torch.tensor([[0.9, 0.1]]), torch.tensor([[0.3, 0.7]])]
    exact = Committee(classes_alone=False)
    for n, p in enumerate(two):
        exact.add(n, p)
    expected = [float((p * (p / torch.tensor([[0.6, 0.4]])).log()).sum()) for p in two]
    assert list(exact.scores(ENS_KL).values()) == pytest.approx(expected, abs=1e-6)
    assert exact.scores(ENSV) == {0: 1.0, 1: 0.0}


def test_a_checkpoint_that_knows_classes_alone_is_gone_on_from():
    committee = Committee()
    empty = torch.zeros(0, 0)
    classes = {1: torch.tensor([0, 1]), 3: torch.tensor([], dtype=torch.int32)}
    total = torch.tensor([[0.9, 0.1], [0.8, 0.2]], dtype=torch.float64)
    committee.load_state_dict({"sum": total, "classes": classes, "newest": empty, "kept": empty})
    assert committee.scores(ENSV)[1] == 0.5 and math.isnan(committee.scores(ENSV)[3])
