"""Label-free choosers held against labels: rank correlation and regret, as tables.

See :mod:`benchmarks.selection_study`, which trains what is looked at here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scipy.stats import ConstantInputWarning, spearmanr

from metaalign_det.evaluation.label_free import VALIDATORS
from metaalign_det.evaluation.label_free.outcome import Candidate, Outcome
from metaalign_det.files import write_json
from metaalign_det.reports.table import mean_and_sd
from metaalign_det.sweeps.label_free import choose_by_validator
from metaalign_det.sweeps.runs import Run
from metaalign_det.sweeps.tables import describe_machine


@dataclass(frozen=True)
class Study:
    """What is trained, and what is right.

    Args:
        benchmark: of :mod:`metaalign_det.sweeps.suites`.
        task: of its models.
        folder, configs: default settings, files ``configs/<folder>/<name>.yaml``.
        unlabelled: target training data, for settings that train without any, too.
        target, source: test data sets with labels, and ``metric`` on both.
        eval_period: default number of iterations between evaluations.
    """

    benchmark: str
    task: str
    folder: str
    configs: tuple[str, ...]
    unlabelled: str
    target: str
    source: str
    metric: str
    eval_period: int


DIGITS = Study(
    "mini_digits",
    "classification",
    "mini_digits",
    ("source", "dann", "dann_meta", "cdan", "mmd", "gvb"),
    "mini_digits_target_train",
    "mini_digits_target_test",
    "mini_digits_source_test",
    "classification/accuracy",
    150,  # of 1,500
)
DETECTION = Study(
    "mini",
    "detection",
    "mini",
    ("source", "swda", "swda_meta", "swda_teacher"),
    "mini_openmoji_train",
    "mini_openmoji_test",
    "mini_photo_test",
    "voc/AP50_11pt",
    80,  # of 400
)


@dataclass(frozen=True)
class Judgement:
    """Of one chooser on one set of candidates.

    Args:
        correlation: Spearman's, NaN where a score is missing or all are equal.
        regret: points below the best candidate; NaN where nothing was chosen.
    """

    correlation: float
    regret: float


def judge(
    candidates: Sequence[Candidate], study: Study, goodness: Callable[[Candidate], float]
) -> Judgement:
    """Hold a chooser against the labels.

    Args:
        candidates: at least one, all with the target's score.
        study: tells which score that is.
        goodness: of a candidate, higher is better; NaN is never chosen.
    """
    truth = [c.metrics[study.target][study.metric] for c in candidates]
    good = [goodness(c) for c in candidates]
    scored = [i for i, x in enumerate(good) if not math.isnan(x)]
    if not scored:
        return Judgement(math.nan, math.nan)
    chosen = max(scored, key=lambda i: good[i])
    correlation = math.nan
    if len(scored) == len(good) > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConstantInputWarning)
            correlation = float(spearmanr(good, truth).statistic)
    return Judgement(correlation, max(truth) - truth[chosen])


def choosers(study: Study) -> dict[str, Callable[[Candidate], float]]:
    """Name -> goodness: the validators of the task, "source" and "last"."""
    table: dict[str, Callable[[Candidate], float]] = {
        v.name: lambda c, v=v: v.goodness(c.scores[v.name])
        for v in VALIDATORS.values()
        if v.task == study.task
    }
    table["source"] = lambda c: c.metrics[study.source][study.metric]
    table["last"] = lambda c: c.iteration
    return table


def judge_checkpoints(outcomes: Mapping[Run, Outcome], study: Study) -> dict[str, list[Judgement]]:
    """Chooser -> a judgement of each run."""
    return {
        name: [judge(outcome.candidates, study, good) for outcome in outcomes.values()]
        for name, good in choosers(study).items()
    }


def judge_settings(outcomes: Mapping[Run, Outcome], study: Study) -> dict[str, list[Judgement]]:
    """Chooser -> a judgement of each seed, over the ends of its runs; for two settings or more."""
    by_seed: dict[int, list[Run]] = {}
    for run in outcomes:
        by_seed.setdefault(run.seed, []).append(run)
    judgements: dict[str, list[Judgement]] = {}
    for runs in (r for r in by_seed.values() if len(r) > 1):
        ends = [outcomes[run].last.candidate for run in runs]
        for name, good in choosers(study).items():
            if name == "last":
                continue  # all of them are
            if name == "ensv":
                # Agreement with the ensemble of the settings, not of each run's checkpoints.
                agreement = _agreement(runs)
                of_end = {id(end): agreement[run.method] for end, run in zip(ends, runs)}
                good = lambda c, of_end=of_end: of_end[id(c)]  # noqa: E731
            judgements.setdefault(name, []).append(judge(ends, study, good))
    return judgements


def _agreement(runs: Sequence[Run]) -> dict[str, float]:
    """Method -> EnsV among the settings of one seed."""
    # To the choice among variants, settings of a study are variants of one method.
    as_variants = [replace(run, method="", variant=run.method) for run in runs]
    (choice,) = choose_by_validator(as_variants, "ensv")
    return {run.method: choice.validation.get(run.method, math.nan) for run in runs}


def summary(judgements: Mapping[str, Sequence[Judgement]]) -> dict[str, dict[str, list[float]]]:
    """Chooser -> "correlation" and "regret", one value for each set of candidates."""
    return {
        name: {
            "correlation": [j.correlation for j in found],
            "regret": [j.regret for j in found],
        }
        for name, found in judgements.items()
    }


def as_markdown(parts: Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]) -> str:
    """A table a choice: mean ± standard deviation, the smallest mean regret first."""
    texts = []
    for title, rows in parts.items():
        lines = [
            f"**{title}**",
            "",
            "| chosen by | rank correlation | regret, points |",
            "|---|---|---|",
        ]
        order = sorted(rows, key=lambda name: _known_mean(rows[name]["regret"]))
        lines += [
            f"| {name} | {_cell(rows[name]['correlation'], 2)} | {_cell(rows[name]['regret'], 1)} |"
            for name in order
        ]
        texts.append("\n".join(lines))
    return "\n\n".join(texts)


def _known(values: Sequence[float]) -> list[float]:
    return [v for v in values if not math.isnan(v)]


def _known_mean(values: Sequence[float]) -> float:
    known = _known(values)
    return sum(known) / len(known) if known else math.inf


def _cell(values: Sequence[float], digits: int) -> str:
    known = _known(values)
    if not known:
        return "–"
    mean, sd = mean_and_sd(known)
    text = f"{mean:.{digits}f}" + (f" ± {sd:.{digits}f}" if len(known) > 1 else "")
    return text if len(known) == len(values) else f"{text} ({len(known)} of {len(values)})"


def report(
    study: Study, outcomes: Mapping[Run, Outcome], output: Path, command: str, missing: int
) -> str:
    """Write ``study.json`` and ``study.md``; the latter's text."""
    parts = {
        "Checkpoints of one run": summary(judge_checkpoints(outcomes, study)),
        "Settings, at the end of training": summary(judge_settings(outcomes, study)),
    }
    parts = {title: rows for title, rows in parts.items() if rows}
    settings = list(dict.fromkeys(run.method for run in outcomes))
    seeds = sorted({run.seed for run in outcomes})
    count = len(next(iter(outcomes.values())).candidates)
    notes = [
        f"Settings {', '.join(settings)}; seeds {', '.join(map(str, seeds))}; {count} checkpoints "
        f"a run; right is {study.metric.partition('/')[2]} on {study.target}.",
        f"Command: `{command}`",
        f"Machine: {describe_machine()}.",
    ]
    if missing:
        notes.insert(0, f"{missing} runs are not complete and left out.")
    text = as_markdown(parts) + "\n\n" + "  \n".join(notes) + "\n"
    write_json(
        output / "study.json",
        {
            "command": command,
            "machine": describe_machine(),
            "target": f"{study.target}/{study.metric}",
            "missing": missing,
            "choices": parts,
            "runs": {
                f"{run.method} seed {run.seed}": [
                    {
                        "iteration": c.iteration,
                        "target": c.metrics[study.target][study.metric],
                        "source": c.metrics[study.source][study.metric],
                        "scores": c.scores,
                    }
                    for c in outcome.candidates
                ]
                for run, outcome in outcomes.items()
            },
        },
    )
    (output / "study.md").write_text(text, encoding="utf-8")
    return text
