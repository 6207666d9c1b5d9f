"""Errors by type, calibration, confusions, and the images on which settings differ most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...evaluation.calibration import Reliability
from ...evaluation.error_types import ERROR_TYPES
from ..charts import Line, bar_chart, line_chart, swatch
from ..document import Block, Cell, Section, Table, Text
from ..statistics import mean_and_sd
from .comparison import Comparison
from .diagnosis import SCORE_THRESHOLD, Diagnoses, Diagnosis
from .samples import sample_cards
from .words import mean_sd, signed

_MOST_CLASSES = 24  # of a confusion matrix that can be read
_MOST_PAIRS = 12
_SHORT = {"localization": "localiz.", "classification": "classif.", "background": "backgr."}


def errors_section(comparison: Comparison) -> Section:
    """The six types of error on the target, and what each costs."""
    by_label = {
        group.label: [d.errors for d in comparison.on_target.of(group.label) if d.errors]
        for group in comparison.groups
    }
    by_label = {label: errors for label, errors in by_label.items() if errors}
    if not by_label:
        return Section("errors", "Kinds of error", [])
    facts = {
        label: {
            kind: {
                "cost": [e.cost[kind] for e in errors],
                "count": [e.count[kind] for e in errors],
            }
            for kind in ERROR_TYPES
        }
        | {
            "false_positive_cost": [e.false_positive_cost for e in errors],
            "false_negative_cost": [e.false_negative_cost for e in errors],
        }
        for label, errors in by_label.items()
    }
    colors = {group.label: comparison.color(group) for group in comparison.groups}
    series = [
        (label, [mean_and_sd(facts[label][k]["cost"])[0] for k in ERROR_TYPES], colors[label])
        for label in by_label
    ]
    legend = [(swatch(colors[label]), label) for label in by_label]
    names = [_SHORT.get(kind, kind) for kind in ERROR_TYPES]
    title = f"What each kind of error costs on {comparison.target}"
    chart = bar_chart(
        title, names, series, y_label=f"{comparison.error_metric_name}, points", legend=legend
    )
    rows = []
    for kind in ERROR_TYPES:
        row = [kind]
        for label in by_label:
            counts = mean_and_sd(facts[label][kind]["count"])[0]
            row += [mean_sd(facts[label][kind]["cost"]), f"{counts:.0f}"]
        rows.append(row)
    for key, name in (
        ("false_positive_cost", "all false positives"),
        ("false_negative_cost", "all false negatives"),
    ):
        row = [name]
        for label in by_label:
            row += [mean_sd(facts[label][key]), "–"]
        rows.append(row)
    columns = ["kind", *(c for label in by_label for c in (f"{label}: cost", "count"))]
    caption = f"Errors on {comparison.target}: points of {comparison.error_metric_name} they cost"
    note = (
        "The six types of TIDE (Bolya et al., 2020) at IoU 0.5 and 0.1. The cost is what the score "
        "would gain if all errors of the kind were fixed; costs do not add up, since fixing one "
        "changes the others."
    )
    return Section("errors", "Kinds of error", [chart, Table(caption, columns, rows, note)], facts)


def calibration_section(comparison: Comparison) -> Section:
    """Calibration error and reliability diagrams, target and source."""
    blocks: list[Block] = []
    facts: dict[str, dict] = {}
    for diagnoses in (comparison.on_target, comparison.on_source):
        lines, legend = [], []
        for group in comparison.groups:
            found = [d.reliability for d in diagnoses.of(group.label)]
            if not found:
                continue
            facts.setdefault(group.label, {})[diagnoses.dataset] = {
                "ece": [r.ece for r in found],
                "overconfidence": [r.overconfidence for r in found],
                "answers": [int(r.count.sum()) for r in found],
            }
            confidence, accuracy = _pooled(found)
            if not len(confidence):  # no answer at all
                continue
            color = comparison.color(group)
            lines.append(Line(group.label, confidence, accuracy, color))
            legend.append((swatch(color), group.label))
        if lines:
            where = comparison.domains.get(diagnoses.dataset, "")
            title = f"Reliability on {diagnoses.dataset} ({where})"
            ends = {"x_range": (0.0, 1.0), "y_range": (0.0, 1.0), "diagonal": True}
            axes = {"x_label": "score", "y_label": "share that is right"}
            blocks.append(line_chart(title, lines, legend=legend, **ends, **axes))
    if not facts:
        return Section("calibration", "Calibration", [])
    datasets = [d.dataset for d in (comparison.on_target, comparison.on_source) if d.by_run]
    columns = ["setting"]
    for dataset in datasets:
        where = comparison.domains.get(dataset, dataset)
        columns += [f"{where}: error", f"{where}: score − right"]
    rows = []
    for label, by in facts.items():
        row = [label]
        for dataset in datasets:
            of = by.get(dataset, {"ece": [], "overconfidence": []})
            row.append(mean_sd([100 * v for v in of["ece"]]))
            row.append(signed(mean_and_sd([100 * v for v in of["overconfidence"]])[0]))
        rows.append(row)
    note = (
        "Expected calibration error over ten bins of the score, in points. Below the diagonal "
        "scores promise too much."
    )
    if not comparison.metric.startswith("classification/"):
        note += (
            " A detection is right if it finds an object at IoU above 0.5; all saved detections "
            "count, most of which have low scores."
        )
    blocks.append(Table("Calibration error in points", columns, rows, note))
    return Section("calibration", "Calibration", blocks, facts)


def confusion_section(comparison: Comparison) -> Section:
    """Confusion matrices on the target: the baseline, and the best of the others."""
    blocks: list[Block] = []
    facts = {}
    chosen = dict.fromkeys([comparison.baseline.label, comparison.best_other().label])
    for label in chosen:
        found = comparison.on_target.of(label)
        if not found:
            continue
        names = list(found[0].class_names)
        total = sum(d.confusion for d in found)
        detector = found[0].matches is not None
        facts[label] = {"classes": names, "matrix": total}
        if len(names) <= _MOST_CLASSES:
            blocks.append(_matrix(label, names, total, detector))
        else:
            blocks.append(_pairs(label, names, total, detector))
    if blocks and comparison.on_target.of(comparison.baseline.label):
        blocks.append(Text(_how_to_read(comparison.on_target), "note"))
    return Section("confusion", f"Confusions on {comparison.target}", blocks, facts)


def samples_section(comparison: Comparison) -> Section:
    """The target images on which the best setting and the baseline differ most."""
    if len(comparison.groups) < 2:
        return Section("samples", "Samples", [])
    after = comparison.best_other()
    before = comparison.baseline.label
    cards, chosen = sample_cards(comparison.on_target, before, after.label)
    if not cards:
        return Section("samples", "Samples", [])
    intro = (
        f"The images of {comparison.target} on which {before} (before) and {after.label} (after) "
        "differ most in the number of mistakes, those that got better first, then those that got "
        "worse. They are extremes, not typical."
    )
    if comparison.on_target.of(before)[0].matches is not None:
        intro += (
            f" Scores of at least {SCORE_THRESHOLD}: a solid green box found an object, a dashed "
            "red one is wrong, a dotted yellow one is an object that was missed."
        )
    facts = {
        "before": before,
        "after": after.label,
        "images": [
            {"image": s.image, "mistakes_before": s.before, "mistakes_after": s.after}
            for s in chosen
        ],
    }
    return Section("samples", "Samples", [Text(intro), *cards], facts)


def _pooled(found: Sequence[Reliability]) -> tuple[NDArray, NDArray]:
    """Mean confidence and accuracy in each bin over several runs, without empty bins."""
    count = sum(r.count for r in found)
    filled = count > 0
    means = [
        sum(np.where(r.count > 0, getattr(r, name), 0.0) * r.count for r in found)[filled]
        / count[filled]
        for name in ("confidence", "accuracy")
    ]
    return means[0], means[1]


def _matrix(label: str, names: list[str], total: NDArray, detector: bool) -> Table:
    rows_of = [*names, "nothing there"] if detector else names
    columns_of = [*names, "missed"] if detector else names
    share = total / np.maximum(total.sum(axis=1, keepdims=True), 1)
    rows = []
    for i, name in enumerate(rows_of):
        cells: list[str | Cell] = [name]
        for j in range(len(columns_of)):
            if detector and i == j == len(names):
                cells.append(Cell("", "quiet"))
                continue
            percent = f"{100 * share[i, j]:.0f}"
            cells.append(Cell(percent, share=float(share[i, j])))
        rows.append(cells)
    return Table(f"{label}: percent of each true class (rows)", ["true class", *columns_of], rows)


def _pairs(label: str, names: list[str], total: NDArray, detector: bool) -> Table:
    """The most frequent confusions, where there are too many classes for a matrix."""
    k = len(names)
    wrong = total[:k, :k].copy()
    wrong[range(k), range(k)] = 0
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_PAIRS]
    rows = []
    for i, j in zip(*np.unravel_index(order, wrong.shape)):
        if wrong[i, j]:
            share = 100 * wrong[i, j] / max(total[i].sum(), 1)
            rows.append([names[i], names[j], str(wrong[i, j]), f"{share:.0f}"])
    columns = ["true class", "taken for", "times", "percent of the class"]
    return Table(f"{label}: most frequent confusions", columns, rows)


def _how_to_read(diagnoses: Diagnoses) -> str:
    first: Diagnosis = next(iter(next(iter(diagnoses.by_run.values())).values()))
    if first.matches is None:
        return "Summed over seeds."
    return (
        f"Detections with a score of at least {SCORE_THRESHOLD}, at IoU above 0.5 whatever the "
        "class, summed over seeds. The last row is what is found where there is nothing, as "
        "percent of all such detections."
    )
