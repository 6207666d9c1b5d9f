"""Agreement of gradients as pictures: per stage, along the alignment step, and over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

from .agreement import SIZES, WHOLE, Agreement, averages, interval
from .style import RUN_COLORS, save


def draw_agreement(path: str | Path, measured: Sequence[Agreement]) -> None:
    """Write four charts of one checkpoint of each run, with 95 % intervals over batches.

    Args:
        path: picture to write.
        measured: one checkpoint a run.
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    figure = Figure(figsize=(9.6, 6.2), dpi=100, layout="constrained")
    (cosines, halves), (along, change) = figure.subplots(2, 2)
    _stages(cosines, measured, {"cosine": "o"})
    two_batches = [
        averages(m.at_theta)[WHOLE].get("cosine_task_batches", {}).get("mean", float("nan"))
        for m in measured
    ]
    cosines.axhline(0, color="0.35", lw=1, ls="--")
    cosines.set(title="cosine of task and alignment gradients",
                ylabel="cosine")  # fmt: skip
    mean = sum(two_batches) / len(two_batches)
    cosines.text(0.99, 0.02, f"for scale: task gradients of two batches {mean:.2f}", fontsize=7.5,
                 transform=cosines.transAxes, ha="right", color="0.35")  # fmt: skip
    if all("half_task" in m.at_theta[WHOLE] for m in measured):
        _stages(halves, measured, {"half_task": "o", "half_alignment": "^"})
        kinds = [
            halves.plot([], [], marker, color="0.4", ms=5, label=name)[0]
            for marker, name in (("o", "H_task g (domain role)"), ("^", "H_A v (task role)"))
        ]
        _from_zero(halves)
        halves.set(title="both halves of ∇⟨g, v⟩", ylabel="norm")
        halves.legend(handles=kinds, fontsize=7.5, frameon=False, ncols=2)
    else:
        halves.set_axis_off()
    _along(along, measured, "cosine")
    along.axhline(0, color="0.35", lw=1, ls="--")
    along.set(title="along the alignment step", ylabel="cosine at θ − αg")
    _along(change, measured, "change")
    change.set(title="what a lookahead of α changes", ylabel="|v(θ − αg) − v| / |v|")
    for ax in (along, change):
        ax.axvline(0, color="0.8", lw=1)
        ax.set_xlabel("α (negative: the opposite direction)")
    low, high = cosines.get_ylim()
    cosines.set_ylim(low - 0.05, high + 0.15 * (high - low))  # room for the legend
    cosines.legend(fontsize=7.5, frameon=False, loc="upper right", ncols=3)
    for ax in (cosines, halves, along, change):
        ax.title.set_fontsize(9)
        ax.tick_params(labelsize=8)
        ax.grid(color="0.93")
        ax.set_axisbelow(True)
    save(figure, path)


def draw_over_training(path: str | Path, measured: Sequence[Agreement]) -> None:
    """Write cosine, inner product, norms and halves over checkpoints, a line a run.

    Args:
        path: picture to write.
        measured: any number of checkpoints of each run.
    """
    from matplotlib.figure import Figure

    runs: dict[str, list[Agreement]] = {}
    for one in measured:
        runs.setdefault(one.label, []).append(one)
    panels: dict[str, tuple[str, Mapping[str, str]]] = {
        "cosine of g and v": ("cosine", {"cosine": "-"}),
        "inner product ⟨g, v⟩": ("inner product", {"inner": "-"}),
        "norms": ("norm", {"norm_task": "-", "norm_alignment": ":"}),
        "halves of ∇⟨g, v⟩": ("norm", {"half_task": "-", "half_alignment": ":"}),
    }
    figure = Figure(figsize=(9.6, 5.6), dpi=100, layout="constrained")
    for ax, (title, (unit, quantities)) in zip(figure.subplots(2, 2).flat, panels.items()):
        for color, (run, checkpoints) in zip(cycle(RUN_COLORS), runs.items()):
            x = [c.iteration for c in checkpoints]
            for name, line in quantities.items():
                found = [
                    interval(c.at_theta[WHOLE].get(name, []), name in SIZES) for c in checkpoints
                ]
                ax.plot(x, [f["mean"] for f in found], line, marker="o", ms=3.5, color=color,
                        label=run if line == "-" else None)  # fmt: skip
                ax.fill_between(x, [f["low"] for f in found], [f["high"] for f in found],
                                color=color, alpha=0.15, lw=0)  # fmt: skip
        if len(quantities) == 1:
            ax.axhline(0, color="0.35", lw=1, ls="--")
        else:
            for name, line in quantities.items():
                ax.plot([], [], line, color="0.4", label=_WORDS[name])
            _from_zero(ax)
        ax.set_title(title, fontsize=9)
        ax.set_xlabel("iteration", fontsize=8)
        ax.set_ylabel(unit, fontsize=8)
        ax.tick_params(labelsize=8)
        ax.legend(fontsize=7, frameon=False, ncols=2)
        ax.grid(color="0.93")
        ax.set_axisbelow(True)
    save(figure, path)


_WORDS = {
    "norm_task": "task, |v|",
    "norm_alignment": "alignment, |g|",
    "half_task": "|H_task g|",
    "half_alignment": "|H_A v|",
}


def _from_zero(ax: Any) -> None:
    """Sizes are seen from zero on, with room for the legend above."""
    ax.set_ylim(0, 1.25 * ax.get_ylim()[1])


def _stages(ax: Any, measured: Sequence[Agreement], quantities: Mapping[str, str]) -> None:
    stages = measured[0].stages
    for number, one in enumerate(measured):
        found = averages(one.at_theta)
        for shift, (name, marker) in enumerate(quantities.items()):
            offset = (number - (len(measured) - 1) / 2) * 0.2 + shift * 0.06
            there = [(i, found[s][name]) for i, s in enumerate(stages) if s in found]
            x = [i + offset for i, _ in there]
            mean = [f["mean"] for _, f in there]
            below = [f["mean"] - f["low"] for _, f in there]
            above = [f["high"] - f["mean"] for _, f in there]
            ax.errorbar(x, mean, yerr=[below, above], fmt=marker, ms=4.5, capsize=2,
                        color=RUN_COLORS[number % len(RUN_COLORS)],
                        label=one.label if not shift else None)  # fmt: skip
    ax.set_xticks(range(len(stages)), stages)


def _along(ax: Any, measured: Sequence[Agreement], quantity: str) -> None:
    for color, one in zip(cycle(RUN_COLORS), measured):
        points = {
            a: interval(found[WHOLE][quantity], quantity in SIZES) for a, found in one.along.items()
        }
        # What a step changes is nothing at theta itself.
        points[0.0] = interval(one.at_theta[WHOLE].get(quantity, [0.0, 0.0]))
        x = sorted(points)
        ax.plot(x, [points[a]["mean"] for a in x], "-o", ms=3.5, color=color)
        ax.fill_between(x, [points[a]["low"] for a in x], [points[a]["high"] for a in x],
                        color=color, alpha=0.15, lw=0)  # fmt: skip
