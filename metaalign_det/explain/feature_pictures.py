"""Feature spaces as pictures: scatter plots of runs in one plane, and numbers beside chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .features import Features
from .separation import Measured
from .style import CLASS_COLORS, DOMAIN_COLORS, RUN_COLORS, save

_NAMES = {
    "domain_accuracy": "domain accuracy\n(linear)",
    "proxy_a_distance": "proxy\nA-distance",
    "mmd": "MMD²",
    "silhouette": "silhouette of\nclasses",
    "silhouette_target": "silhouette,\ntarget alone",
    "nearest_class": "nearest source object\nis of its class",
}
_PANEL = 2.35  # inches
_UNKNOWN = "#BBBBBB"  # color of examples whose class is not known


def draw_embedding(
    path: str | Path,
    points: Mapping[str, NDArray],
    features: Mapping[str, Features],
    class_names: Sequence[str],
    title: str,
) -> None:
    """Write one column a run; domains on top, classes below where they are known.

    Args:
        path: picture to write.
        points: run -> (n, 2), of one embedding.
        features: run -> the features that were embedded.
        class_names: of the class numbers; () = their numbers.
        title: line above.
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    classes = sorted({int(c) for f in features.values() for c in f.classes if c >= 0})
    rows = 2 if len(classes) > 1 else 1
    size = (_PANEL * len(points) + 1.5, _PANEL * rows + 0.5)
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    grid = figure.subplots(rows, len(points), squeeze=False, sharex=True, sharey=True)
    for column, (run, xy) in enumerate(points.items()):
        grid[0][column].set_title(run, fontsize=9)
        rng = np.random.default_rng(0)
        order = rng.permutation(len(xy))  # neither domain lies on top of the other
        found = features[run]
        domain_colors = np.array(DOMAIN_COLORS)[found.domains]
        _scatter(grid[0][column], xy, domain_colors, found.domains, order)
        if rows == 2:
            color = np.array([_class_color(c) for c in found.classes])
            _scatter(grid[1][column], xy, color, found.domains, order)
    for ax in grid.flat:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_color("0.8")
    _legend(grid[0][-1], [("source", DOMAIN_COLORS[0], "o"), ("target", DOMAIN_COLORS[1], "^")])
    if rows == 2:
        named = [(class_names[c] if class_names else str(c), _class_color(c), "s") for c in classes]
        if any((f.classes < 0).any() for f in features.values()):
            named.append(("unknown", _class_color(-1), "s"))
        _legend(grid[1][-1], [*named, ("source", "0.4", "o"), ("target", "0.4", "^")])
    figure.suptitle(title, fontsize=9)
    save(figure, path)


def draw_separation(
    path: str | Path, measured: Mapping[str, Mapping[str, Mapping[str, Measured]]]
) -> None:
    """Write the numbers of every level (a row) and kind (a column), each beside its chance.

    Args:
        path: picture to write.
        measured: level -> run -> name -> number.
    """
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for runs in measured.values() for m in runs.values() for n in m))
    runs = list(dict.fromkeys(run for of_level in measured.values() for run in of_level))
    height = 0.8 + len(measured) * (0.75 + 0.26 * len(runs))
    figure = Figure(figsize=(1.85 * len(names) + 1.2, height), dpi=110, layout="constrained")
    grid = figure.subplots(len(measured), len(names), squeeze=False)
    above: list[Mapping] = []
    for line, (level, of_runs) in zip(grid, measured.items()):
        for ax, name in zip(line, names):
            _numbers(ax, [of_runs.get(run, {}).get(name) for run in runs])
            ax.set_yticks(range(len(runs)), runs if ax is line[0] else [], fontsize=8)
            here = any(name in found for found in of_runs.values())
            if here and not any(name in m for runs_ in above for m in runs_.values()):
                ax.set_title(_NAMES.get(name, name), fontsize=8)
        line[0].set_ylabel(f"{level} features", fontsize=8)
        above.append(of_runs)
    figure.supxlabel("dot: measured · gray band: 95 % of what permuted labels give (chance)",
                     fontsize=8)  # fmt: skip
    save(figure, path)


def _numbers(ax: Any, values: Sequence[Measured | None]) -> None:
    from matplotlib.ticker import MaxNLocator

    there = [v for v in values if v is not None]
    if not there:
        ax.set_axis_off()
        return
    for y, (color, one) in enumerate(zip(RUN_COLORS * len(values), values)):
        if one is not None:
            ax.fill_betweenx([y - 0.38, y + 0.38], one.chance_low, one.chance_high, color="0.82",
                             lw=0.8)  # fmt: skip
            ax.plot(one.value, y, "o", color=color, ms=5)
            ax.annotate(f"{one.value:.2f}", (one.value, y), xytext=(0, 5), fontsize=6.5,
                        textcoords="offset points", ha="center")  # fmt: skip
    edges = [x for v in there for x in (v.value, v.chance_low, v.chance_high)]
    pad = 0.18 * (max(edges) - min(edges) or 1)
    ax.set(xlim=(min(edges) - pad, max(edges) + pad), ylim=(len(values) - 0.4, -0.7))
    ax.tick_params(axis="x", labelsize=7)
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(axis="x", color="0.93")
    ax.set_axisbelow(True)


def _class_color(c: int) -> str:
    return CLASS_COLORS[c % len(CLASS_COLORS)] if c >= 0 else _UNKNOWN


def _scatter(ax: Any, xy: NDArray, color: NDArray, domains: NDArray, order: NDArray) -> None:
    for domain, marker in enumerate("o^"):
        rows = order[domains[order] == domain]
        ax.scatter(*xy[rows].T, c=color[rows], s=9, marker=marker, alpha=0.65, linewidths=0)


def _legend(ax: Any, entries: Sequence[tuple[str, str, str]]) -> None:
    for name, color, marker in entries:
        ax.scatter([], [], c=color, marker=marker, s=22, label=name)
    ax.legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=7.5, frameon=False,
              handletextpad=0.2)  # fmt: skip
