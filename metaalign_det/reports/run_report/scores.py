"""Results: per test set, per class, per checkpoint, per role, each as mean ± sd over seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import Any

from ..document import Block, Cell, Section, Table, Text
from ..statistics import PairedDifference, mean_and_sd, paired_difference, t_interval
from .comparison import Comparison, find_differences
from .groups import Group
from .run_files import STUDENT, TEACHER, ScoreKey
from .words import interval, mean_sd, signed

_CHECKPOINTS = ("last", "selected", "oracle")


def results_section(comparison: Comparison) -> Section:
    """Scores of the last checkpoints, and differences to the baseline."""
    blocks: list[Block] = []
    facts: dict[str, Any] = {}
    order = sorted(comparison.domains, key=lambda d: (d != comparison.target, d))
    for dataset in order:
        metrics = _totals(comparison, dataset)
        if metrics:
            blocks.append(_dataset_table(comparison, dataset, metrics))
            facts[dataset] = _dataset_facts(comparison, dataset, metrics)
    if len(comparison.groups) > 1:
        blocks.append(_difference_table(comparison))
        blocks.append(
            Text(
                "Differences are taken seed by seed. The interval over seeds is Student's: what "
                "another training could give. That over images is a paired bootstrap of the test "
                "set: what other images could give. The sign test is two-sided and assumes "
                "nothing about the size of differences. Beyond noise means that the interval over "
                "seeds does not contain 0.",
                "note",
            )
        )
    return Section("results", "Results", blocks, facts)


def classes_section(comparison: Comparison) -> Section:
    """Scores by class on the target and on the source."""
    blocks, facts = [], {}
    for dataset in (comparison.target, comparison.source):
        names = _class_names(comparison, dataset)
        if not dataset or not names:
            continue
        facts[dataset] = {}
        rows = []
        for name in names:
            metric = f"{comparison.metric}/{name}"
            row: list[str | Cell] = [name]
            for group in comparison.groups:
                values = comparison.values(group, dataset, metric)
                facts[dataset].setdefault(name, {})[group.label] = dict(values)
                row.append(mean_sd(list(values.values())))
                if group is not comparison.baseline:
                    row.append(_difference_cell(comparison.difference(group, dataset, metric)))
            rows.append(row)
        columns = ["class"]
        for group in comparison.groups:
            columns.append(group.label)
            if group is not comparison.baseline:
                columns.append("difference")
        where = comparison.domains.get(dataset, "")
        caption = f"{comparison.metric_name} by class on {dataset} ({where}), percent"
        blocks.append(Table(caption, columns, rows, folded=len(rows) > 24))
    if blocks:
        blocks.append(
            Text(
                "Differences to the baseline whose 95 % interval over seeds does not contain 0 "
                "are marked with *. With many classes, about one in twenty is marked by chance.",
                "note",
            )
        )
    return Section("classes", "Classes", blocks, facts)


def checkpoints_section(comparison: Comparison) -> Section:
    """Last, selected and oracle checkpoint; student and teacher."""
    blocks: list[Block] = []
    facts: dict[str, Any] = {}
    chosen = {g.label: _chosen(g, comparison) for g in comparison.groups}
    if any(len(by) > 1 for by in chosen.values()):
        rows = [
            [label, *(mean_sd(list(by.get(c, {}).values())) for c in _CHECKPOINTS)]
            for label, by in chosen.items()
        ]
        caption = f"{comparison.metric_name} on {comparison.target} by checkpoint, percent"
        validators = {run.selection.get("validator", "") for g in comparison.groups for run in g}
        by = " and ".join(sorted(v for v in validators if v)) or "no validator"
        note = (
            f"Selected: chosen by {by}, without target labels. Oracle: the best on target labels, "
            "which nobody has; it bounds what a better choice could gain and is no result."
        )
        blocks.append(Table(caption, ["setting", *_CHECKPOINTS], rows, note))
        facts["checkpoints"] = chosen
    roles = {}
    for group in comparison.groups:
        both = {
            role: group.scores(ScoreKey(role, comparison.target, comparison.metric))
            for role in (STUDENT, TEACHER)
        }
        if both[TEACHER]:
            roles[group.label] = both
    if roles:
        rows = []
        for label, both in roles.items():
            difference = paired_difference(both[STUDENT], both[TEACHER])
            cells = [mean_sd(list(both[role].values())) for role in (STUDENT, TEACHER)]
            rows.append([label, *cells, signed(difference.mean), interval(difference.interval)])
        columns = ["setting", STUDENT, TEACHER, "difference", "95 % interval"]
        caption = f"Student and teacher, {comparison.metric_name} on {comparison.target}, percent"
        blocks.append(Table(caption, columns, rows))
        facts["roles"] = roles
    return Section("checkpoints", "Checkpoints and roles", blocks, facts)


def _totals(comparison: Comparison, dataset: str) -> list[str]:
    """Metrics over all classes that some run has there, the one compared by first."""
    known = {
        key.metric
        for group in comparison.groups
        for run in group
        for key in run.scores
        if key.dataset == dataset and key.role == STUDENT and key.metric.count("/") == 1
    }
    return sorted(known, key=lambda m: (m != comparison.metric, m))


def _dataset_table(comparison: Comparison, dataset: str, metrics: list[str]) -> Table:
    rows = []
    for group in comparison.groups:
        cells = [
            mean_sd(list(comparison.values(group, dataset, metric).values())) for metric in metrics
        ]
        rows.append([group.label, str(len(comparison.values(group, dataset))), *cells])
    names = [metric.partition("/")[2] for metric in metrics]
    caption = f"{dataset} ({comparison.domains[dataset]}), percent, mean ± sd over seeds"
    return Table(caption, ["setting", "seeds", *names], rows)


def _difference_table(comparison: Comparison) -> Table:
    rows = []
    datasets = [d for d in (comparison.target, comparison.source) if d]
    images = {f.label: f.images for f in find_differences(comparison)}  # on the target
    for dataset in datasets:
        for group in comparison.groups[1:]:
            d = comparison.difference(group, dataset)
            by_seed = ", ".join(f"{seed}: {signed(v)}" for seed, v in d.values.items())
            p = "–" if math.isnan(d.p_sign) else f"{d.p_sign:.2g}"
            rows.append(
                [
                    f"{group.label}, {comparison.domains.get(dataset, dataset)}",
                    _difference_cell(d),
                    interval(d.interval),
                    interval(images[group.label]) if dataset == comparison.target else "–",
                    f"{d.wins} of {len(d.values)}",
                    p,
                    by_seed or "–",
                ]
            )
    columns = ["setting", "difference", "95 % over seeds", "95 % over images", "better",
               "sign test p", "by seed"]  # fmt: skip
    caption = f"Paired differences to {comparison.baseline.label}, points of "
    return Table(caption + comparison.metric_name, columns, rows)


def _difference_cell(difference: PairedDifference) -> Cell:
    sure = difference.interval.excludes_zero
    tone = "" if not sure else "good" if difference.mean > 0 else "bad"
    return Cell(signed(difference.mean) + ("*" if sure else ""), tone)


def _class_names(comparison: Comparison, dataset: str) -> list[str]:
    prefix = f"{comparison.metric}/"
    return list(
        dict.fromkeys(
            key.metric.removeprefix(prefix)
            for group in comparison.groups
            for run in group
            for key in run.scores
            if key.dataset == dataset and key.metric.startswith(prefix)
        )
    )


def _chosen(group: Group, comparison: Comparison) -> dict[str, dict[Hashable, float]]:
    """Which checkpoint -> seed -> score on the target, from ``selection.json``."""
    found: dict[str, dict[Hashable, float]] = {}
    for seed, run in group.runs.items():
        for name in _CHECKPOINTS:
            value = _selected_score(run.selection.get(name), comparison)
            if value is not None:
                found.setdefault(name, {})[seed] = value
    found.setdefault("last", comparison.values(group, comparison.target))
    return found


def _selected_score(chosen: Mapping | None, comparison: Comparison) -> float | None:
    metrics = ((chosen or {}).get("candidate") or {}).get("metrics") or {}
    value = metrics.get(comparison.target, {}).get(comparison.metric)
    return None if value is None else float(value)


def _dataset_facts(comparison: Comparison, dataset: str, metrics: list[str]) -> dict:
    facts = {}
    for group in comparison.groups:
        for metric in metrics:
            values = comparison.values(group, dataset, metric)
            mean, sd = mean_and_sd(list(values.values()))
            low, high = t_interval(list(values.values()))
            facts.setdefault(group.label, {})[metric] = {
                "by_seed": values,
                "mean": mean,
                "sd": sd,
                "low": low,
                "high": high,
            }
    return facts
