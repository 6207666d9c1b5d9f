"""What to know after a minute: which is better on the target, by how much, and what is left."""

from __future__ import annotations

import math

from ...evaluation.error_types import ERROR_TYPES
from ..charts import Estimate, interval_chart
from ..document import Block, Section, Text, Verdict
from ..statistics import mean_and_sd
from .comparison import Comparison, Finding, find_differences
from .words import interval, listed, number

#: Error types as a sentence has them.
ERROR_WORDS = {
    "localization": "badly framed boxes",
    "classification": "wrong class names",
    "duplicate": "duplicates",
    "background": "detections on background",
    "both": "boxes with wrong frame and wrong name",
    "missed": "missed objects",
}


def summary_section(comparison: Comparison) -> Section:
    """The first section."""
    findings = find_differences(comparison)
    blocks: list[Block] = []
    if findings:
        blocks.append(_headline(comparison, findings))
        estimates = [
            Estimate(f.label, f.difference.mean, f.interval, i + 1)
            for i, f in enumerate(findings)
            if f.difference.values
        ]
        if estimates:
            title = f"Difference to {comparison.baseline.label} on {comparison.target}"
            unit = f"points of {comparison.metric_name}; bars: 95 % interval"
            blocks.append(interval_chart(title, estimates, unit))
        said = comparison.best_other().label
        blocks += [_sentence(comparison, f) for f in findings if f.label != said]
    else:
        group = comparison.baseline
        score = number(comparison.mean(group, comparison.target))
        blocks.append(
            Verdict(
                f"{group.label} reaches {score} % {comparison.metric_name} on "
                f"{comparison.target}. There is nothing to compare it with: pass the folder of a "
                "baseline first.",
                main=True,
            )
        )
    for block in (_remaining(comparison), _source(comparison), _calibrated(comparison)):
        if block is not None:
            blocks.append(block)
    blocks += _warnings(comparison, findings)
    return Section("summary", "Summary", blocks, _facts(comparison, findings))


def _unknown(finding: Finding) -> bool:
    return math.isnan(finding.difference.mean)


def _headline(comparison: Comparison, findings: list[Finding]) -> Verdict:
    """About the best of the settings that are compared with the baseline."""
    nearest = comparison.best_other().label
    finding = next(f for f in findings if f.label == nearest)
    said = _sentence(comparison, finding, main=True)
    # The best is that by the means of all seeds; on those that both have, another may be better.
    ahead = any(f.difference.mean > 0 for f in findings)
    if len(findings) > 1 and comparison.best() is comparison.baseline and not ahead:
        text = f"No setting beats {comparison.baseline.label}. The nearest: {said.text}"
        return Verdict(text, said.badge, said.tone, main=True)
    return said


def _sentence(comparison: Comparison, finding: Finding, main: bool = False) -> Verdict:
    group = next(g for g in comparison.groups if g.label == finding.label)
    base, name = comparison.baseline, comparison.metric_name
    if _unknown(finding):
        means = [comparison.mean(g, comparison.target) for g in (base, group)]
        shared = base.runs.keys() & group.runs.keys()
        reason = "no seed has a score of both" if shared else "they share no seed"
        return Verdict(
            f"{group.label} reaches {number(means[1])} % on {comparison.target}, {base.label} "
            f"{number(means[0])} %; {reason}, so they are not compared.",
            "not compared",
            main=main,
        )
    d = finding.difference
    word = "better" if d.mean > 0 else "worse" if d.mean < 0 else "neither better nor worse"
    then, now = (
        mean_and_sd([comparison.values(g, comparison.target)[s] for s in d.values])[0]
        for g in (base, group)
    )
    text = (
        f"{group.label} is {word} on the target ({comparison.target}) than {base.label} by "
        f"{number(abs(d.mean))} points of {name} ({number(then)} → {number(now)})"
    )
    if finding.basis == "seeds":
        n = len(d.values)
        text += (
            f"; 95 % interval over {n} seeds {interval(finding.interval)}, better with {d.wins} "
            f"of {n}."
        )
    elif finding.basis == "images":
        text += (
            f"; with one seed, 95 % interval over test images {interval(finding.interval)}. How "
            "far another seed would move it is not known."
        )
    else:
        text += ". There is one seed and nothing to resample for this: the noise is not known."
    return Verdict(text, *_badge(finding), main)


def _badge(finding: Finding) -> tuple[str, str]:
    if not finding.basis:
        return "noise unknown", "quiet"
    of = "" if finding.basis == "seeds" else " of the test set"
    if not finding.is_beyond_noise:
        return f"not beyond noise{of}", "quiet"
    return f"beyond noise{of}", "good" if finding.difference.mean > 0 else "bad"


def _remaining(comparison: Comparison) -> Verdict | None:
    """What is still wrong with the best setting."""
    best = comparison.best().label
    errors = [d.errors for d in comparison.on_target.of(best) if d.errors is not None]
    if errors:
        cost = {k: mean_and_sd([e.cost[k] for e in errors])[0] for k in ERROR_TYPES}
        first, second = sorted(cost, key=lambda k: -cost[k])[:2]
        if math.isnan(cost[first]):  # there is no object
            return None
        name = comparison.error_metric_name
        if cost[first] <= 0:
            return Verdict(f"No kind of error costs {best} any {name} on {comparison.target}.")
        return Verdict(
            f"The error that is left with {best} is mostly {ERROR_WORDS[first]}: without them its "
            f"{name} would be {number(cost[first])} points higher. Next are "
            f"{ERROR_WORDS[second]} ({number(cost[second])} points)."
        )
    diagnoses = comparison.on_target.of(best)
    if not diagnoses:
        return None
    names, total = diagnoses[0].class_names, sum(d.confusion for d in diagnoses)
    wrong = total.copy()
    wrong[range(len(wrong)), range(len(wrong))] = 0
    if not wrong.any():
        return Verdict(f"{best} makes no mistake on {comparison.target}.")
    i, j = divmod(int(wrong.argmax()), len(names))
    share = 100.0 * wrong[i, j] / max(total[i].sum(), 1)
    return Verdict(
        f"The error that is left with {best} is spread over {int((wrong > 0).sum())} pairs of "
        f"classes; most often {names[i]} is taken for {names[j]} ({number(share)} % of all "
        f"{names[i]})."
    )


def _source(comparison: Comparison) -> Verdict | None:
    """What adapting costs where the labels are."""
    if not comparison.source:
        return None
    told = []
    for group in comparison.groups:
        mean = comparison.mean(group, comparison.source)
        if not math.isnan(mean):
            told.append(f"{group.label} {number(mean)}")
    text = f"On the source ({comparison.source}): {listed(told)} % {comparison.metric_name}."
    return Verdict(text) if told else None


def _calibrated(comparison: Comparison) -> Verdict | None:
    """Whether scores can be trusted on the target."""
    best = comparison.best().label
    diagnoses = comparison.on_target.of(best)
    if not diagnoses:
        return None
    ece = mean_and_sd([100 * d.reliability.ece for d in diagnoses])[0]
    over = mean_and_sd([100 * d.reliability.overconfidence for d in diagnoses])[0]
    if math.isnan(ece):
        return None
    side = "too high" if over > 0 else "too low"
    text = f"Scores of {best} on the target are off by {number(ece)} points (calibration error)"
    text += f", on average {number(abs(over))} {side}"
    at_home = comparison.on_source.of(best)
    if at_home:
        ece = mean_and_sd([100 * d.reliability.ece for d in at_home])[0]
        text += "" if math.isnan(ece) else f"; on the source by {number(ece)} points"
    return Verdict(f"{text}.")


def _warnings(comparison: Comparison, findings: list[Finding]) -> list[Block]:
    notes = [
        f"{g.label}, seed {seed}: stopped at iteration {run.iteration} of {run.max_iter}; "
        + ("its scores are those of its last evaluation." if run.scores else "it has no scores.")
        for g in comparison.groups
        for seed, run in g.runs.items()
        if not run.is_complete
    ]
    notes += [
        f"{g.label}, seed {seed}: the evaluation at its end is missing; its scores are those of "
        f"iteration {run.evaluated_at}."
        for g in comparison.groups
        for seed, run in g.runs.items()
        if run.is_complete and run.evaluated_at < run.max_iter
    ]
    few = max((len(f.difference.values) for f in findings if f.basis == "seeds"), default=0)
    if 0 < few < 5:
        notes.append(
            f"{few} seeds give wide intervals and a sign test that cannot fall below "
            f"p = {2.0 ** (1 - few):.2g}: five or more seeds settle more."
        )
    lengths = {g.label: g.first.max_iter for g in comparison.groups}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{label} {steps}" for label, steps in lengths.items())
        notes.append(f"The settings train for different numbers of iterations ({told}).")
    for dataset in filter(None, (comparison.target, comparison.source)):
        notes += _not_alike(comparison, dataset)
    notes += [*comparison.on_target.notes, *comparison.on_source.notes]
    return [Text(note, "note") for note in notes]


def _not_alike(comparison: Comparison, dataset: str) -> list[str]:
    """Why scores on a test set of one name may be of other images, labels or classes."""
    tested = [g for g in comparison.groups if comparison.values(g, dataset)]
    notes = []
    meant = [
        [e for e in g.first.config.get("DATASETS.REGISTER", []) if _name_of(e) == dataset]
        for g in tested
    ]
    if any(entries != meant[0] for entries in meant):
        others = [g.label for g, entries in zip(tested, meant) if entries != meant[0]]
        notes.append(
            f"{dataset} in DATASETS.REGISTER is not the same for {listed(others)} as for "
            f"{tested[0].label}: scores on other images or labels do not compare."
        )
    prefix = f"{comparison.metric}/"
    classes = {
        g.label: frozenset(
            key.metric
            for run in g
            for key in run.scores
            if key.dataset == dataset and key.metric.startswith(prefix)
        )
        for g in tested
    }
    classes = {label: names for label, names in classes.items() if names}
    if len(set(classes.values())) > 1:
        told = listed([f"{label} {len(names)}" for label, names in classes.items()])
        notes.append(
            f"Not all settings were scored on the same classes of {dataset} (numbers of classes: "
            f"{told}): means over other classes do not compare."
        )
    return notes


def _name_of(entry: object) -> object:
    return entry.get("NAME") if isinstance(entry, dict) else None


def _facts(comparison: Comparison, findings: list[Finding]) -> dict:
    return {
        "baseline": comparison.baseline.label,
        "best": comparison.best().label,
        "target": comparison.target,
        "source": comparison.source,
        "metric": comparison.metric,
        "differences": [
            {
                "setting": f.label,
                "by_seed": f.difference.values,
                "mean": f.difference.mean,
                "interval_over": f.basis,
                "low": f.interval.low,
                "high": f.interval.high,
                "beyond_noise": f.is_beyond_noise if f.basis else None,
                "low_over_images": f.images.low,
                "high_over_images": f.images.high,
                "wins": f.difference.wins,
                "losses": f.difference.losses,
                "ties": f.difference.ties,
                "p_sign": f.difference.p_sign,
            }
            for f in findings
        ],
    }
