"""Correlation and regret of choosers, on outcomes made up by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from benchmarks import selection_study
from benchmarks.selection_analysis import (
    DETECTION,
    DIGITS,
    as_markdown,
    choosers,
    judge,
    judge_checkpoints,
    judge_settings,
    report,
    summary,
)
from metaalign_det.errors import UserError
from metaalign_det.evaluation.label_free import VALIDATORS
from metaalign_det.evaluation.label_free.outcome import (
    PREDICTIONS_FILE,
    Candidate,
    Chosen,
    Outcome,
)
from metaalign_det.sweeps.suites import Task

NAMES = [v.name for v in VALIDATORS.values() if v.task == "classification"]


@dataclass(frozen=True)
class FakeRun:
    method: str
    folder: Path
    variant: str = ""
    seed: int = 0
    task: Task = Task("digits")


def candidate(iteration, target, **scores):
    metrics = {DIGITS.target: {DIGITS.metric: target}, DIGITS.source: {DIGITS.metric: 90.0}}
    return Candidate(iteration, {n: scores.get(n, 0.5) for n in NAMES}, metrics)


def outcome(*candidates):
    last = Chosen("model_final.pth", candidates[-1])
    return Outcome("ensv", True, last, None, candidates=candidates)


FOUR = [
    candidate(i, target, bnm=bnm, entropy=entropy)
    for i, (target, bnm, entropy) in enumerate(
        [(50, 0.1, 0.9), (60, 0.3, 0.8), (70, 0.2, 0.6), (65, 0.4, 0.7)]
    )
]


def test_correlation_is_of_ranks_and_regret_in_points():
    table = choosers(DIGITS)
    # bnm ranks 1 3 2 4 against 1 2 4 3: d^2 = 0 + 1 + 4 + 1, rho = 1 - 6 * 6 / 60.
    by_bnm = judge(FOUR, DIGITS, table["bnm"])
    assert by_bnm.correlation == pytest.approx(0.4) and by_bnm.regret == 5
    by_entropy = judge(FOUR, DIGITS, table["entropy"])  # low is better: the very order
    assert by_entropy.correlation == pytest.approx(1.0) and by_entropy.regret == 0
    assert judge(FOUR, DIGITS, table["last"]).regret == 5


def test_candidates_without_a_score_are_never_chosen():
    good = dict(zip(range(4), (math.nan, 3.0, 2.0, 1.0)))
    judged = judge(FOUR, DIGITS, lambda c: good[c.iteration])
    assert judged.regret == 10 and math.isnan(judged.correlation)
    nothing = judge(FOUR, DIGITS, lambda c: math.nan)
    assert math.isnan(nothing.regret) and math.isnan(nothing.correlation)


def test_equal_scores_have_no_correlation():
    assert math.isnan(judge(FOUR, DIGITS, lambda c: 1.0).correlation)


@pytest.fixture
def outcomes(tmp_path):
    """Three settings with one seed; of each, what it says of two images."""
    cat, dog = [0.9, 0.1], [0.2, 0.8]
    found = {}
    for method, target, p in (
        ("a", 50, [cat, cat]),
        ("b", 70, [dog, cat]),
        ("c", 60, [dog, dog]),
    ):
        folder = tmp_path / method
        folder.mkdir()
        run = FakeRun(method, folder)
        found[run] = outcome(candidate(4, 10.0), candidate(8, target, bnm=1 / target))
        found[run].write(folder)
        np.savez(folder / PREDICTIONS_FILE, last=np.array(p), selected=np.array(p))
    return found


def test_settings_are_compared_at_the_end_and_ensv_under_their_own_ensemble(outcomes):
    judged = judge_settings(outcomes, DIGITS)
    assert "last" not in judged
    assert judged["bnm"][0].correlation == pytest.approx(-1.0) and judged["bnm"][0].regret == 20
    assert judged["ensv"][0].regret == 0  # b agrees with the mean of all


def test_every_run_is_a_set_of_checkpoints(outcomes):
    judged = judge_checkpoints(outcomes, DIGITS)
    assert [j.regret for j in judged["last"]] == [0, 0, 0]
    assert set(judged) == {*NAMES, "source", "last"}


def test_the_table_has_the_smallest_regret_first_and_says_what_is_missing():
    rows = {
        "bnm": {"correlation": [0.5, 0.7], "regret": [2.0, 4.0]},
        "snd": {"correlation": [math.nan, 1.0], "regret": [1.0, 1.0]},
        "dev": {"correlation": [math.nan], "regret": [math.nan]},
    }
    lines = as_markdown({"Checkpoints": rows}).splitlines()
    assert lines[4:] == [
        "| snd | 1.00 (1 of 2) | 1.0 ± 0.0 |",
        "| bnm | 0.60 ± 0.14 | 3.0 ± 1.4 |",
        "| dev | – | – |",
    ]


def test_a_report_names_command_and_machine(outcomes, tmp_path):
    text = report(DIGITS, outcomes, tmp_path, "the command", missing=2)
    assert "2 runs are not complete" in text and "`the command`" in text
    assert (tmp_path / "study.md").read_text() == text and (tmp_path / "study.json").is_file()
    assert set(summary(judge_checkpoints(outcomes, DIGITS))["bnm"]) == {"correlation", "regret"}


@pytest.mark.parametrize("study", [DIGITS, DETECTION])
def test_its_trainings_are_judged_by_every_validator_of_the_task(study, tmp_path):
    args = selection_study.argument_parser().parse_args(["--output", str(tmp_path)])
    args.opts = ["SOLVER.MAX_ITER", "20"]
    runs = selection_study.plan(study, args)
    assert len(runs) == 5 * len(study.configs)
    overrides = " ".join(runs[0].overrides)
    assert all(f"'{v.name}'" in overrides for v in VALIDATORS.values() if v.task == study.task)


def test_a_study_of_nothing_is_a_mistake_of_the_users(tmp_path, capsys):
    assert selection_study.main(["--output", str(tmp_path), "--table-only"]) == 2
    assert "no run in" in capsys.readouterr().err


def test_tables_go_into_their_place_in_a_document(tmp_path):
    document = tmp_path / "page.md"
    document.write_text("a\n<!-- study mini -->\nold\n<!-- end mini -->\nb\n")
    selection_study.insert(document, "mini", "new\n")
    assert document.read_text() == "a\n<!-- study mini -->\nnew\n<!-- end mini -->\nb\n"
    with pytest.raises(UserError, match="has no lines <!-- study digits -->"):
        selection_study.insert(document, "digits", "new\n")
    root = Path(__file__).parents[2]
    page = (root / "docs" / "selection.md").read_text()
    for study in (DIGITS, DETECTION):
        assert f"<!-- study {study.benchmark} -->\n" in page
