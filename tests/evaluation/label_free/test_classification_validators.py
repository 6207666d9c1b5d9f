"""Every validator of classification on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free import (
    DEFAULTS,
    VALIDATORS,
    Inputs,
    Mixtures,
    Predictions,
    get_validator,
    merge,
)
from metaalign_det.evaluation.label_free.importance import control_variate_mean, density_ratio

SURE = [[1.0, 0.0], [0.0, 1.0]]
UNSURE = [[0.5, 0.5], [0.5, 0.5]]
ONE_CLASS = [[1.0, 0.0], [1.0, 0.0]]


def said(probabilities, features=None, labels=None):
    p = torch.tensor(probabilities)
    f = torch.zeros(len(p), 1) if features is None else torch.tensor(features)
    return Predictions(p, f, None if labels is None else torch.tensor(labels))


def score(name, probabilities, **others):
    return get_validator(name)(Inputs(target=said(probabilities), **others))


@pytest.mark.parametrize(
    "name, probabilities, expected",
    [
        ("entropy", SURE, 0.0),
        ("entropy", UNSURE, math.log(2)),
        # -(3/4 log 3/4 + 1/4 log 1/4)
        ("entropy", [[0.75, 0.25]], 0.562335),
        ("infomax", SURE, math.log(2)),
        ("infomax", UNSURE, 0.0),
        ("infomax", ONE_CLASS, 0.0),
        # Singular values 1, 1; then 1, 0; then sqrt(2), 0. All over two images.
        ("bnm", SURE, 1.0),
        ("bnm", UNSURE, 0.5),
        ("bnm", ONE_CLASS, math.sqrt(2) / 2),
        # P^T P: identity; all 1/2; diag(2, 0).
        ("corr_c", SURE, math.sqrt(2)),
        ("corr_c", UNSURE, 1.0),
        ("corr_c", ONE_CLASS, 1.0),
        # Four equal predictions: each sees three neighbors alike.
        ("snd", [[1.0, 0.0]] * 4, math.log(3)),
        # Two pairs: the own twin at similarity 1, the two others at 0; exp(-20) is next to nothing.
        ("snd", SURE + SURE, 0.0),
    ],
)
def test_scores_of_probabilities(name, probabilities, expected):
    assert score(name, probabilities) == pytest.approx(expected, abs=1e-6)


def test_snd_has_no_score_for_two_images():
    assert math.isnan(score("snd", SURE))


def test_mixval_averages_pairs_of_one_class_and_of_two():
    cat, dog = [0.9, 0.1], [0.2, 0.8]
    mixtures = Mixtures(
        probabilities=torch.tensor([cat, cat, cat, dog]),
        first=torch.tensor([cat, dog, cat, cat]),  # right, wrong | right, wrong
        second=torch.tensor([cat, cat, cat, dog]),
        weight=0.55,
    )
    # Same class: images 0 and 2, both right. Two classes: 1 wrong (cat for dog), 3 wrong.
    assert get_validator("mixval")(Inputs(mixtures=mixtures)) == pytest.approx(0.5)
    only_same = Mixtures(
        *(getattr(mixtures, n)[::2] for n in ("probabilities", "first", "second")), 0.55
    )
    assert get_validator("mixval")(Inputs(mixtures=only_same)) == 1.0


def test_ensv_is_the_agreement_with_the_mean_of_all_candidates():
    candidates = torch.tensor([SURE, [[0.6, 0.4], [0.9, 0.1]], [[0.8, 0.2], [0.3, 0.7]]])
    ensemble = candidates.mean(dim=0)  # classes 0 and 1
    scores = [score("ensv", c.tolist(), ensemble=ensemble) for c in candidates]
    assert scores == [1.0, 0.5, 1.0]


def test_ensv_prefers_the_middle_of_a_run_that_gets_better_all_along():
    """Of candidates that differ in how far they have come, the middle one agrees most."""
    right, wrong = [1.0, 0.0], [0.0, 1.0]
    run = [torch.tensor([right] * n + [wrong] * (4 - n)) for n in range(5)]  # 0 to 4 right of 4
    ensemble = torch.stack(run).mean(dim=0)
    agreement = [score("ensv", p.tolist(), ensemble=ensemble) for p in run]
    assert agreement == [0.5, 0.75, 1.0, 0.75, 0.5]


def test_dev_of_equal_domains_is_the_source_risk():
    features = [[0.0], [1.0], [2.0], [3.0]]
    p = [[0.5, 0.5], [0.25, 0.75], [0.5, 0.5], [0.75, 0.25]]
    inputs = Inputs(target=said(p, features), source=said(p, features, [0, 0, 1, 1]))
    risk = (2 * math.log(2) + 2 * math.log(4)) / 4
    assert get_validator("dev")(inputs) == pytest.approx(risk, abs=1e-5)


def test_the_density_ratio_counts_images_where_features_are_discrete():
    source, target = torch.tensor([[0.0]] * 3 + [[1.0]]), torch.tensor([[0.0], [1.0], [1.0], [1.0]])
    ratio = density_ratio(source, target)
    # p_t / p_s is (1/4) / (3/4) at 0 and (3/4) / (1/4) at 1, but for the penalty.
    assert ratio[0] == pytest.approx(1 / 3, rel=0.05) and ratio[3] == pytest.approx(3, rel=0.05)


def test_the_control_variate_takes_out_what_the_weights_explain():
    weights = torch.tensor([0.5, 1.5], dtype=torch.float64)
    # Every image has loss 2: weighted mean 2 whatever the weights' mean, and here 2 w exactly.
    assert control_variate_mean(2 * weights * 1.1, weights * 1.1) == pytest.approx(2.0)
    assert control_variate_mean(2 * torch.ones(2), torch.ones(2)) == 2.0


def test_scores_of_shares_of_the_images_are_those_of_all():
    p = torch.rand(6, 3).softmax(dim=1)
    parts = [Inputs(target=Predictions(x, x)) for x in (p[:2], p[2:2], p[2:])]
    whole = Inputs(target=Predictions(p, p))
    for name in ("entropy", "infomax", "bnm", "corr_c", "snd"):
        validator = get_validator(name)
        assert validator(merge(parts)) == pytest.approx(validator(whole))


def test_a_share_without_images_changes_nothing_wherever_it_stands():
    nothing = Predictions(torch.zeros(0, 2), torch.zeros(0, 1))  # as collect leaves it
    full = said(SURE, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [0, 1])
    for order in ([full, nothing, full], [nothing, full, full], [full, full, nothing]):
        merged = merge([Inputs(target=x, source=x) for x in order]).source
        assert torch.equal(merged.features, torch.cat([full.features] * 2))
        assert merged.labels.tolist() == [0, 1, 0, 1]
    assert len(merge([Inputs(target=nothing)] * 2).target.probabilities) == 0


def test_directions_put_a_sure_and_balanced_model_where_the_papers_do():
    better = {
        name: v.goodness(score(name, SURE * 2)) > v.goodness(score(name, UNSURE * 2))
        for name, v in VALIDATORS.items()
        if v.needs == ("target",)
    }
    # snd says so itself: it likes predictions that are all alike.
    assert better == {"entropy": True, "infomax": True, "bnm": True, "corr_c": True, "snd": False}


def test_corr_c_is_the_cosine_of_the_correlation_and_the_identity():
    p = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    # P^T P = [[0.80, 0.40], [0.40, 0.40]]: trace 1.2, norm sqrt(0.64 + 0.16 + 0.16 + 0.16).
    assert score("corr_c", p.tolist()) == pytest.approx(1.2 / math.sqrt(1.12), rel=1e-6)
    correlation = (p.T @ p / len(p)).flatten()
    cosine = torch.cosine_similarity(correlation, torch.eye(2).flatten(), dim=0)
    assert score("corr_c", p.tolist()) == pytest.approx(math.sqrt(2) * float(cosine), rel=1e-6)


def test_a_collapsed_model_is_not_what_corr_c_selects():
    corr_c = get_validator("corr_c")
    collapsed, spread = (corr_c.goodness(score("corr_c", p)) for p in (ONE_CLASS, SURE))
    assert spread > collapsed


def test_what_is_missing_or_unknown_is_named():
    with pytest.raises(UserError, match="needs the input 'source', which was not collected"):
        score("dev", SURE)
    with pytest.raises(UserError, match="'target' has none"):
        get_validator("entropy")(Inputs(target=Predictions(torch.zeros(0, 2), torch.zeros(0, 1))))
    p = Predictions(torch.full((2, 2), 0.5), labels=torch.tensor([0, 1]))
    with pytest.raises(UserError, match="'features', which was not collected"):
        get_validator("dev")(Inputs(target=p, source=p))
    with pytest.raises(UserError, match="no validator 'ensf'.*did you mean 'ensv'"):
        get_validator("ensf")
    assert {VALIDATORS[name].task for name in DEFAULTS.values()} == set(DEFAULTS)


@pytest.mark.parametrize("name", [n for n, v in VALIDATORS.items() if v.task == "classification"])
def test_a_model_that_has_diverged_has_no_score(name):
    """argmax takes NaN for class 0, so that it would agree with itself on everything."""
    nan = [[math.nan] * 2] * 4
    p = torch.tensor(nan)
    mixtures = Mixtures(p, p, p, 0.55)
    source = said(nan, labels=[0, 1, 0, 1])
    assert math.isnan(score(name, nan, source=source, mixtures=mixtures, ensemble=p))
