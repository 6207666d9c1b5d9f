"""What happened over the iterations: scores, losses, discriminators, coordination, cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

import numpy as np

from ..charts import Line, grey_swatch, line_chart, swatch
from ..curves import TASK_LOSSES
from ..document import Block, Figure, Section, Table, Text
from ..metrics import Series
from ..statistics import mean_and_sd
from .comparison import Comparison
from .groups import Group
from .run_files import STUDENT, ScoreKey
from .run_log import read_peak_memory, read_training_seconds
from .words import number, seconds

_WINDOW = 0.05  # of a run: the width of the running mean of noisy scalars
_ORTHOGONAL, _PLAIN = (0.0, "orthogonal"), (1.0, "joint training")
#: Scalar -> title and level of comparison: of the lookahead, and of PCGrad and its kin.
_QUANTITIES: dict[str, tuple[str, tuple[float, str] | None]] = {
    "lookahead/beta": ("Stage weights β", (1.0, "plain step")),
    "lookahead/cosine": ("Cosine of task and alignment gradient", _ORTHOGONAL),
    "lookahead/inner": ("Inner product of task and alignment gradient", _ORTHOGONAL),
    "lookahead/relative_change": ("Relative change of the gradient by looking ahead", None),
    "lookahead/step_ratio": ("Length of the inner step relative to the weights", None),
    "projection/cosine": ("Cosine of task and alignment gradient", _ORTHOGONAL),
    "projection/weight_alignment": ("Weight of alignment's gradient", _PLAIN),
    "projection/weight_task": ("Weight of the task's gradient", _PLAIN),
}


def curves_section(comparison: Comparison) -> Section:
    """Scores of each evaluation, and losses."""
    groups = comparison.groups
    figures: list[Figure] = []
    for dataset in (comparison.target, comparison.source):
        key = ScoreKey(STUDENT, dataset, comparison.metric)
        lines = _lines(groups, lambda run, key=key: run.score_series.get(key), smooth=False)
        if dataset and any(len(line.x) > 1 for line in lines):
            where = comparison.domains.get(dataset, "")
            title = f"{comparison.metric_name} on {dataset} ({where})"
            figures.append(line_chart(title, lines, y_label="percent", legend=_legend(groups)))
    for title, wanted in (
        ("Sum of task losses", _is_task_loss),
        ("Sum of alignment losses", _is_alignment_loss),
    ):
        lines = _lines(groups, lambda run, wanted=wanted: _sum(run.series, wanted))
        if lines:
            figures.append(line_chart(title, lines, legend=_legend(groups)))
    blocks: list[Block] = list(figures)
    if blocks:
        blocks.append(
            Text(
                "Lines are means over seeds, bands reach from the smallest to the largest seed. "
                "Losses are running means over a twentieth of the training.",
                "note",
            )
        )
    return Section("curves", "Curves", blocks)


def discriminators_section(comparison: Comparison) -> Section:
    """How well discriminators tell the domains apart."""
    # Settings that tell other domains apart have another chance level, and a chart of their own.
    charts: dict[tuple[str, tuple[str, ...]], list[Group]] = {}
    for group in comparison.groups:
        names = _keys([group], "da/*acc_*")
        for stem in dict.fromkeys(name.rpartition("acc_")[0] for name in names):
            prefix = f"{stem}acc_"
            domains = tuple(n.removeprefix(prefix) for n in names if n.startswith(prefix))
            charts.setdefault((stem, domains), []).append(group)
    blocks: list[Block] = []
    facts: dict[str, dict[str, float]] = {}
    for (stem, domains), groups in charts.items():
        discriminator = stem.removeprefix("da/").strip("_")
        scalars = [f"{stem}acc_{domain}" for domain in domains]
        lines = []
        for group in groups:
            color = comparison.color(group)
            for dash, name in enumerate(scalars):
                lines += _lines([group], lambda r, n=name: r.series.get(n), color=color, dash=dash)
            ends = [_late_mean(run.series[n]) for run in group for n in scalars if n in run.series]
            facts.setdefault(group.label, {})[discriminator or "domain"] = mean_and_sd(ends)[0]
        legend = [(swatch(comparison.color(g)), g.label) for g in groups]
        legend += [(grey_swatch(i), f"{domain} images") for i, domain in enumerate(domains)]
        blocks.append(
            line_chart(
                f"Discriminator {discriminator}".strip(),
                lines,
                y_label="accuracy",
                y_range=(0.0, 1.0),
                reference=(1 / max(len(domains), 2), "chance"),
                legend=legend,
            )
        )
    if facts:
        columns = ["setting", *dict.fromkeys(name for by in facts.values() for name in by)]
        rows = [
            [label, *(number(by.get(c, math.nan), 2) for c in columns[1:])]
            for label, by in facts.items()
        ]
        caption = "Accuracy of discriminators over the last fifth of training, mean over domains"
        note = (
            "Chance is 0.5 between two domains: there the discriminator cannot tell the domains "
            "apart, or has not learned to; near 1 the features still show where they come from."
        )
        blocks.append(Table(caption, columns, rows, note))
    return Section("discriminators", "Discriminators", blocks, facts)


def coordination_section(comparison: Comparison) -> Section:
    """Weights, agreement of gradients and relative change, per stage and role."""
    blocks: list[Block] = []
    facts: dict[str, dict[str, float]] = {}
    for group in comparison.groups:
        for quantity, (title, level) in _QUANTITIES.items():
            names = _keys([group], f"{quantity}*")
            if not names:
                continue
            stages = list(dict.fromkeys(_stage(n) for n in names))
            roles = list(dict.fromkeys(_role(n) for n in names))
            lines = []
            for name in names:
                color, dash = stages.index(_stage(name)), roles.index(_role(name))
                found = _lines([group], lambda r, n=name: r.series.get(n), color=color, dash=dash)
                lines += found
                ends = [_late_mean(run.series[name]) for run in group if name in run.series]
                facts.setdefault(group.label, {})[name] = mean_and_sd(ends)[0]
            legend = [(swatch(i), stage) for i, stage in enumerate(stages) if stage]
            if len(roles) > 1:
                legend += [(grey_swatch(i), f"role {role}") for i, role in enumerate(roles)]
            blocks.append(
                line_chart(f"{title}, {group.label}", lines, reference=level, legend=legend)
            )
    if blocks:
        blocks.append(
            Text(
                "A cosine below 0 says that a step for one objective undoes the other. The "
                "relative change says how much looking ahead changes a gradient at all: near 0, "
                "MetaAlign is joint training. Weights say how much of each gradient the shared "
                "parameters descend: one that stays above 1 is a larger weight of that objective.",
                "note",
            )
        )
    return Section("coordination", "Coordination of the objectives", blocks, facts)


def cost_section(comparison: Comparison) -> Section:
    """What a step and a training take."""
    rows, facts = [], {}
    base = math.nan
    for group in comparison.groups:
        step = mean_and_sd([_median(run.series.get("time")) for run in group])[0]
        data = mean_and_sd([_median(run.series.get("data_time")) for run in group])[0]
        training = mean_and_sd([read_training_seconds(run.log, run.iteration) for run in group])[0]
        memory = mean_and_sd([read_peak_memory(run.log) for run in group])[0]
        base = step if group is comparison.baseline else base
        facts[group.label] = {
            "seconds_per_step": step,
            "relative": step / base if base else math.nan,
            "data_seconds_per_step": data,
            "training_seconds": training,
            "peak_memory_mb": memory,
        }
        rows.append(
            [
                group.label,
                seconds(step),
                number(facts[group.label]["relative"], 2),
                seconds(data),
                seconds(training),
                "–" if math.isnan(memory) else f"{memory:.0f} MB",
            ]
        )
    if all(math.isnan(f["seconds_per_step"]) for f in facts.values()):
        return Section("cost", "Cost", [])
    columns = ["setting", "step", "relative", "of it data", "training", "GPU memory"]
    note = (
        "Medians over a run, means over seeds. They compare only where runs had the machine to "
        "themselves; training is without evaluations, and not known of runs that were killed."
    )
    table = Table("What a step and a training take", columns, rows, note)
    return Section("cost", "Cost", [table], facts)


# ---- lines ----------------------------------------------------------------------------------


def _lines(
    groups: Sequence[Group],
    pick: Callable,
    *,
    smooth: bool = True,
    color: int | None = None,
    dash: int = 0,
) -> list[Line]:
    """One line a group, the mean over its runs, with a band from the smallest to the largest.

    Args:
        groups: the settings.
        pick: run -> series, or None where it has none.
        smooth: running mean over a twentieth of the training.
        color: of all lines; None = the group's.
        dash: of all lines.
    """
    lines = []
    for index, group in enumerate(groups):
        found = [series for run in group if (series := pick(run)) is not None and len(series[0])]
        if not found:
            continue
        if smooth:
            found = [_smoothed(series) for series in found]
        steps = max((series[0] for series in found), key=len)
        values = np.array([np.interp(steps, x, y, right=np.nan) for x, y in found])
        there = ~np.isnan(values).all(axis=0)
        steps, values = steps[there], values[:, there]
        several = len(found) > 1
        lines.append(
            Line(
                group.label,
                steps,
                np.nanmean(values, axis=0),
                index if color is None else color,
                dash,
                np.nanmin(values, axis=0) if several else None,
                np.nanmax(values, axis=0) if several else None,
            )
        )
    return lines


def _smoothed(series: Series) -> Series:
    """Mean over the last records, over fewer at the start."""
    steps, values = series
    width = max(1, round(_WINDOW * len(values)))
    finite = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(finite, values, 0.0)]))
    count = np.cumsum(np.concatenate([[0], finite]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - width, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return steps, (total[end] - total[start]) / (count[end] - count[start])


def _sum(series: dict[str, Series], wanted: Callable[[str], bool]) -> Series | None:
    """The sum of scalars that are recorded together; a missing one is 0."""
    parts = [s for name, s in series.items() if wanted(name)]
    if not parts:
        return None
    steps = np.unique(np.concatenate([x for x, _ in parts]))
    total = np.zeros(len(steps))
    for x, y in parts:
        total[np.searchsorted(steps, x)] += y
    return steps, total


def _is_task_loss(name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in TASK_LOSSES)


def _is_alignment_loss(name: str) -> bool:
    return name.startswith("loss_") and not _is_task_loss(name)


def _legend(groups: Sequence[Group]) -> list[tuple[str, str]]:
    return [(swatch(i), group.label) for i, group in enumerate(groups)]


def _keys(groups: Sequence[Group], pattern: str) -> list[str]:
    found = {name for g in groups for run in g for name in run.series if fnmatchcase(name, pattern)}
    return sorted(found)


def _stage(name: str) -> str:
    """The stage of ``<family>/<quantity>/[<role>/]<stage>``; "" where it is of the whole step."""
    parts = name.split("/")[2:]
    if parts[:1] and parts[0] in _ROLES:
        parts = parts[1:]
    return "/".join(parts)


def _role(name: str) -> str:
    parts = name.split("/")[2:]
    return parts[0] if parts and parts[0] in _ROLES else ""


_ROLES = ("domain", "alignment", "task")


def _late_mean(series: Series) -> float:
    """Mean over the last fifth of the records."""
    values = series[1][np.isfinite(series[1])]
    return float(values[-max(1, len(values) // 5) :].mean()) if len(values) else math.nan


def _median(series: Series | None) -> float:
    return math.nan if series is None else float(np.nanmedian(series[1]))
