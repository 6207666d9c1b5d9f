"""Settings are chosen where no label is, and from the last checkpoint of each run."""

from __future__ import annotations

import numpy as np
import pytest

from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free.outcome import (
    PREDICTIONS_FILE,
    Candidate,
    Chosen,
    Outcome,
)
from metaalign_det.sweeps.label_free import choose_by_validator
from metaalign_det.sweeps.own_data import own_benchmark
from metaalign_det.sweeps.plan import plan_runs
from metaalign_det.sweeps.runs import read_scores
from metaalign_det.sweeps.tables import _describe
from tests.sweeps.fake_training import CONFIG, calls, plan, run_tool


def judged(run, validator, score, higher, probabilities=None, ended=True):
    run.folder.mkdir(parents=True)
    candidate = Candidate(4, {validator: score})
    last = Chosen("model_final.pth" if ended else "", candidate)
    Outcome(validator, higher, last, None, candidates=[candidate]).write(run.folder)
    if probabilities is not None:
        p = np.array(probabilities, np.float16)
        np.savez(run.folder / PREDICTIONS_FILE, last=p, selected=p)


@pytest.fixture
def runs(place):
    return plan(place, variants={"": {"a": [], "b": ["SOLVER.BASE_LR", "0.2"]}}, seeds=(0, 1))


@pytest.mark.parametrize("validator, higher, best", [("entropy", False, "a"), ("bnm", True, "b")])
def test_the_better_mean_in_the_validators_direction_is_chosen(runs, validator, higher, best):
    for run in runs:
        judged(run, validator, (0.1 if run.variant == "a" else 0.2) + run.seed, higher)
    (choice,) = choose_by_validator(runs, validator)
    assert choice.variant == best
    assert choice.validation == pytest.approx({"a": 0.6, "b": 0.7})
    assert validator in choice.by and "without labels" in choice.by


def test_a_variant_with_a_run_that_has_not_ended_is_not_considered(runs):
    for run in runs[:-1]:
        judged(run, "bnm", 0.9 if run.variant == "b" else 0.1, True)
    judged(runs[-1], "bnm", 0.9, True, ended=False)
    (choice,) = choose_by_validator(runs, "bnm")
    assert (choice.variant, choice.incomplete) == ("a", ("b",))
    assert choose_by_validator(runs[:1], "snd")[0].variant is None


def test_ensv_compares_the_variants_of_one_seed_with_each_other(place):
    variants = {"": {n: ["SOLVER.BASE_LR", v] for n, v in zip("abc", ("0.1", "0.2", "0.3"))}}
    runs = plan(place, variants=variants, seeds=(0,))
    cat, dog = [0.9, 0.1], [0.2, 0.8]
    for run, p in zip(runs, ([cat, cat], [dog, cat], [dog, dog])):
        judged(run, "ensv", 1.0, True, p)  # its own score is of another ensemble
    (choice,) = choose_by_validator(runs, "ensv")
    # The mean says dog, cat.
    assert choice.validation == {"a": 0.5, "b": 1.0, "c": 0.5} and choice.variant == "b"


def test_runs_on_different_images_cannot_be_compared(runs):
    for run, count in zip(runs, (2, 3, 2, 2)):
        judged(run, "ensv", 1.0, True, [[0.9, 0.1]] * count)
    with pytest.raises(UserError, match="compares runs on the same images and classes"):
        choose_by_validator(runs, "ensv")


def settings(run):
    return dict(zip(run.overrides[::2], run.overrides[1::2]))


@pytest.fixture
def source(place):
    """A config of a training without target images."""
    path = place / "source.yaml"
    path.write_text(CONFIG.replace('("office31_webcam",)', "()"))
    return path


def test_runs_that_are_not_chosen_among_are_not_told_to_judge_themselves(tool, place, source):
    """A source-only training would have no target images to look at, and be trained anew."""
    args = ["--configs", str(source), str(place / "dann.yaml"), "--select-by", "snd"]
    args += ["--variant", "dann:a", "--variant", "dann:b", "SOLVER.BASE_LR", "0.2"]
    assert run_tool(place, *args, seeds=("0",)) == 0
    told = {
        (m, o.get("SOLVER.BASE_LR")): o.get("SELECTION.VALIDATOR") for m, _, o, *_ in calls(place)
    }
    assert told == {("source", None): None, ("dann", None): "snd", ("dann", "0.2"): "snd"}
    (plain,) = plan(place, methods=("source",))
    assert read_scores(plain), "the folder is that of a sweep without a choice"


@pytest.mark.usefixtures("source")
def test_variants_without_a_target_are_judged_on_that_of_their_task(place):
    variants = {"": {"a": [], "b": ["SOLVER.BASE_LR", "0.2"]}}
    options = {"methods": ("source",), "variants": variants, "select_by": "snd"}
    for run in plan(place, "office31", **options):
        assert settings(run)["SELECTION.TARGET"] == repr(run.task.target)
        assert "DATASETS.TARGET" not in settings(run)
    named = ["SELECTION.TARGET", "('office31_dslr',)"]
    for run in plan(place, "office31", overrides=named, **options):
        assert settings(run)["SELECTION.TARGET"] == named[1]


@pytest.mark.usefixtures("source")
def test_or_on_that_of_another_config_where_the_configs_say_what_the_task_is(place):
    variants = {"source": {"a": [], "b": ["SOLVER.BASE_LR", "0.2"]}}
    one, two, other = plan(place, methods=("source", "dann"), variants=variants, select_by="snd")
    for run in (one, two):
        assert settings(run)["SELECTION.TARGET"] == "('office31_webcam',)"
    assert other.method == "dann" and "SELECTION.ENABLED" not in settings(other)


def test_variants_that_nobody_gives_a_target_are_named(place, source):
    task = own_benchmark([source])
    variants = {"": {"a": [], "b": []}}
    with pytest.raises(UserError, match="variants of source have no target .* SELECTION.TARGET"):
        plan_runs(task, [source], (0,), place / "out", variants=variants, select_by="snd")
    with pytest.raises(UserError, match="no validator 'sdn'"):
        plan_runs(task, [source], (0,), place / "out", variants=variants, select_by="sdn")


def test_a_diverged_variant_is_not_chosen_and_has_no_vote(place):
    variants = {"": {n: ["SOLVER.BASE_LR", v] for n, v in zip("abc", ("0.1", "0.2", "9.0"))}}
    runs = plan(place, variants=variants, seeds=(0,))
    cat, dog, nan = [0.9, 0.1], [0.2, 0.8], [np.nan, np.nan]
    for run, p in zip(runs, ([dog, cat], [dog, dog], [nan, nan])):
        judged(run, "ensv", 1.0, True, p)
    (choice,) = choose_by_validator(runs, "ensv")
    # The mean of the two that are left says dog, cat.
    assert choice.validation == {"a": 1.0, "b": 0.5}
    assert (choice.variant, choice.incomplete) == ("a", ("c",))


def test_variants_without_a_score_are_not_told_to_be_incomplete(runs):
    """As PDR has none of a detector of one class."""
    for run in runs:
        judged(run, "snd", np.nan, True)
    (choice,) = choose_by_validator(runs, "snd")
    said = _describe(choice)
    assert "nothing chosen; not considered, because a run is not complete or has no score" in said
