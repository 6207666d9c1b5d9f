"""Training curves from the ``metrics.json`` files that Detectron2's JSONWriter leaves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .metrics import Series, read_metrics

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Panel:
    """One plot of the figure.

    Args:
        title: above it.
        keys: names of scalars in ``metrics.json``, ``*`` and ``?`` allowed.
        exclude: likewise, those not to show.
        smooth: also draw a running mean over this many records, the records themselves pale.
        most: show at most this many scalars, the first by name.
    """

    title: str
    keys: tuple[str, ...]
    exclude: tuple[str, ...] = ()
    smooth: int = 1
    most: int = 6


#: Detectron2's names of supervised losses, and the classifier's; every other loss is alignment.
TASK_LOSSES = ("loss_cls*", "loss_box_reg*", "loss_rpn_*", "loss_mask")

#: What is drawn by default. A panel for which no run has data is left out.
DEFAULT_PANELS: tuple[Panel, ...] = (
    Panel("total loss", ("total_loss",), smooth=5),
    Panel("task losses", TASK_LOSSES, smooth=5),
    Panel("alignment losses", ("loss_*",), exclude=TASK_LOSSES, smooth=5),
    Panel("AP at IoU 0.5, 11-point (%)", ("*voc/AP50_11pt",)),
    Panel("accuracy (%)", ("*classification/accuracy",)),
    Panel("discriminator accuracy", ("da/*acc*",), smooth=5),
    Panel("cosine of task and alignment gradient", ("lookahead/cosine/*",), smooth=5),
    Panel("stage weights β", ("lookahead/beta/*",)),
    Panel("inner step |αβg| / |θ|", ("lookahead/step_ratio/*",), smooth=5),
    Panel("learning rate", ("lr",)),
)


def plot_curves(
    runs: Mapping[str, str | Path],
    out_png: str | Path,
    *,
    panels: Sequence[Panel] = DEFAULT_PANELS,
    title: str = "",
) -> None:
    """Draw the training curves of several runs side by side: one colour a run, one dash a scalar.

    Args:
        runs: label of each run -> its ``metrics.json``.
        out_png: picture to write; its folder is made.
        panels: what to draw; those without data are left out.
        title: above the figure.

    Raises:
        UserError: if a file is missing or empty, or holds nothing that a panel shows.
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    data = {label: read_metrics(path) for label, path in runs.items()}
    shown = [(panel, _keys(panel, data)) for panel in panels]
    shown = [(panel, keys) for panel, keys in shown if keys]
    if not shown:
        raise UserError(f"nothing to plot in {', '.join(str(p) for p in runs.values())}")

    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    figure = Figure(figsize=(4.6 * columns, 3.1 * lines + 0.5), dpi=110, layout="constrained")
    colours = dict(zip(data, islice(cycle(_COLOURS), len(data))))
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax, (panel, keys) in zip(axes, shown):
        _draw(ax, panel, keys, data, colours)
    for ax in axes[len(shown) :]:
        ax.set_axis_off()
    handles = [_line(colour) for colour in colours.values()]
    figure.legend(
        handles, list(colours), loc="outside lower center", ncols=min(5, len(data)), frameon=False
    )
    if title:
        figure.suptitle(title)
    Path(out_png).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_png)


# Okabe and Ito's colours, told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_DASHES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 3)))


def _keys(panel: Panel, data: Mapping[str, Mapping[str, Series]]) -> list[str]:
    def wanted(key: str) -> bool:
        return any(fnmatchcase(key, p) for p in panel.keys) and not any(
            fnmatchcase(key, p) for p in panel.exclude
        )

    found = sorted({k for scalars in data.values() for k in scalars if wanted(k)})
    if len(found) > panel.most:
        logger.info(
            "%s: showing %d of %d scalars, without %s",
            panel.title,
            panel.most,
            len(found),
            ", ".join(found[panel.most :]),
        )
    return found[: panel.most]


def _draw(ax: Any, panel: Panel, keys: list[str], data: Any, colours: Any) -> None:
    dashes = dict(zip(keys, islice(cycle(_DASHES), len(keys))))
    for label, scalars in data.items():
        for key in keys:
            if key not in scalars:
                continue
            steps, values = scalars[key]
            style = {"color": colours[label], "linestyle": dashes[key], "linewidth": 1.5}
            if panel.smooth > 1 and len(values) > panel.smooth:
                ax.plot(steps, values, color=colours[label], linewidth=0.6, alpha=0.25)
                values = _running_mean(values, panel.smooth)
            # A line of few points, as evaluations give it, is hard to see without them.
            ax.plot(steps, values, marker="o" if len(values) < 12 else None, markersize=4, **style)
    ax.set_title(panel.title, fontsize=10)
    ax.set_xlabel("iteration", fontsize=8)
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.25)
    ax.spines[["top", "right"]].set_visible(False)
    if len(keys) > 1:
        names = _short(keys)
        ax.legend([_line("0.3", dashes[k]) for k in keys], names, fontsize=7, framealpha=0.7)


def _line(colour: Any, dash: str = "-") -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=colour, linestyle=dash)


def _short(keys: Sequence[str]) -> list[str]:
    """The keys without the path components that all of them begin and end with."""
    parts = [key.split("/") for key in keys]
    while all(len(p) > 1 for p in parts) and len({p[0] for p in parts}) == 1:
        parts = [p[1:] for p in parts]
    while all(len(p) > 1 for p in parts) and len({p[-1] for p in parts}) == 1:
        parts = [p[:-1] for p in parts]
    return ["/".join(p) for p in parts]


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over the last ``width`` values, over fewer at the start; shape (n,) -> (n,).

    Values that are not finite are left out; NaN where no other is near.
    """
    finite = np.isfinite(values)
    total = np.cumsum(np.concatenate([[0.0], np.where(finite, values, 0.0)]))
    count = np.cumsum(np.concatenate([[0], finite]))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - width, 0)
    with np.errstate(invalid="ignore"):
        return (total[end] - total[start]) / (count[end] - count[start])
