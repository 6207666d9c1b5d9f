"""Attention as pictures: heat over the images, and the focus of each objective as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .attention import TASK
from .attention_share import box_mask
from .attention_study import Attention
from .style import RUN_COLORS, save

_CELL = 1.35  # inches, the longer side of an image
_HEAT = "inferno"


def draw_attention(
    path: str | Path,
    images: Sequence[NDArray],
    boxes: Sequence[NDArray | None],
    studies: Sequence[Attention],
    method: str,
    objectives: Sequence[str],
    title: str,
) -> None:
    """Write a grid: a column an image, the images themselves on top, a row an objective and run.

    Each map is scaled by its own 99.5th percentile. The number in a corner is the map's share
    inside the boxes over their area: 1 would be chance.

    Args:
        path: picture to write.
        images: RGB, uint8, shape (H, W, 3); a map of another size, of a run whose network sees
            images at another, is resized.
        boxes: ground truth (n, 4) of each image in its pixels; None where unknown.
        studies: the runs, whose ``shown`` hold these images.
        method: which kind of map.
        objectives: those to draw, in this order.
        title: line above.
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    rows = [(o, s) for o in objectives for s in studies if o in s.shown]
    widths = [_CELL * im.shape[1] / max(im.shape[:2]) for im in images]
    height = max(_CELL * im.shape[0] / max(im.shape[:2]) for im in images)
    size = (sum(widths) + 1.0, (height + 0.04) * (len(rows) + 1) + 0.45)
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    grid = figure.subplots(len(rows) + 1, len(images), squeeze=False, width_ratios=widths)
    for ax, image, found in zip(grid[0], images, boxes):
        _show(ax, image, found, "#00b894")
    known = any(found is not None for found in boxes)
    grid[0][0].set_ylabel("image,\nobjects" if known else "image", fontsize=8)
    for line, (objective, study) in zip(grid[1:], rows):
        maps = study.shown[objective][method]
        for number, (ax, image, found) in enumerate(zip(line, images, boxes)):
            if number not in maps:
                _show(ax, image, found, "white")
                continue
            attention = _as_large_as(image, maps[number])
            _show(ax, blend(image, attention), found, "white")
            _label(ax, attention, found)
        plain = objective in (TASK, "discriminator")
        what = objective if plain else f"{objective}\ndiscriminator"
        line[0].set_ylabel(f"{what}\n{study.label}", fontsize=7.5)
    note = "; in the corners: attention inside boxes / their area" if known else ""
    figure.suptitle(title + note, fontsize=9)
    save(figure, path)


def blend(image: NDArray, attention: NDArray) -> NDArray:
    """A darkened gray image with the map as heat on it; uint8, shape (H, W, 3)."""
    import matplotlib

    top = np.percentile(attention, 99.5) or attention.max() or 1.0
    heat = np.clip(attention / top, 0, 1)[..., None]
    gray = image.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.55 + 70
    color = matplotlib.colormaps[_HEAT](0.15 + 0.85 * heat[..., 0])[..., :3] * 255
    weight = 0.25 + 0.6 * heat
    return (gray * (1 - weight) + color * weight).clip(0, 255).astype(np.uint8)


def _as_large_as(image: NDArray, attention: NDArray) -> NDArray:
    height, width = image.shape[:2]
    if attention.shape == (height, width):
        return attention
    return cv2.resize(attention, (width, height), interpolation=cv2.INTER_LINEAR)


def draw_focus(
    path: str | Path, numbers: Mapping[str, Mapping], method: str, objectives: Sequence[str]
) -> None:
    """Write a chart of the focus of each objective and run, with chance drawn.

    Args:
        path: picture to write.
        numbers: run -> objective -> method -> the numbers of ``AttentionMeter.summary``.
        method: which kind of map.
        objectives: from the top down.
    """
    from matplotlib.figure import Figure

    height = 1.35 + 0.24 * len(objectives) * (len(numbers) + 0.6)
    figure = Figure(figsize=(6.4, height), dpi=110, layout="constrained")
    ax = figure.add_subplot()
    y, ticks = 0.0, []
    for objective in objectives:
        start = y
        for color, (run, found) in zip(cycle(RUN_COLORS), numbers.items()):
            entry = found.get(objective, {}).get(method, {})
            if "focus" in entry:
                focus = entry["focus"]
                bar = [[focus.value - focus.low], [focus.high - focus.value]]
                ax.errorbar(focus.value, y, xerr=bar, fmt="o", color=color, ms=5, capsize=2.5,
                            label=run if objective == objectives[0] else None)  # fmt: skip
                ax.plot(entry["focus_other_boxes"], y, "|", color=color, ms=9, mew=1.6)
            y += 1
        ticks.append(((start + y - 1) / 2, objective))
        y += 0.6
    ax.axvline(1, color="0.35", lw=1, ls="--")
    ax.annotate("chance", (1, -0.75), fontsize=8, color="0.35", ha="center", va="bottom",
                annotation_clip=False)  # fmt: skip
    ax.set_yticks([t for t, _ in ticks], [name for _, name in ticks])
    ax.set(ylim=(y - 0.4, -0.8), xlabel="attention inside objects / their share of the area "
           "(95 % interval over images)")  # fmt: skip
    ax.plot([], [], "|", color="0.35", ms=9, mew=1.6, label="on other images' objects")
    ax.legend(fontsize=8, loc="best")
    ax.grid(axis="x", color="0.92")
    ax.set_axisbelow(True)
    save(figure, path)


def _show(ax: Any, image: NDArray, boxes: NDArray | None, color: str) -> None:
    from matplotlib.patches import Rectangle

    ax.imshow(image, interpolation="lanczos")
    ax.set(xticks=[], yticks=[], xlim=(0, image.shape[1]), ylim=(image.shape[0], 0))
    ax.spines[:].set_visible(False)
    for x0, y0, x1, y1 in [] if boxes is None else boxes:
        ax.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=0.9)
        )


def _label(ax: Any, attention: NDArray, boxes: NDArray | None) -> None:
    if boxes is None or not len(boxes):
        return
    mask = box_mask(boxes, *attention.shape)
    total = attention.sum()
    text = f"{attention[mask].sum() / total / mask.mean():.1f}" if total > 0 else "none"
    ax.text(0.03, 0.03, text, transform=ax.transAxes, fontsize=6.5, color="white", va="bottom",
            bbox={"facecolor": "black", "edgecolor": "none", "pad": 1, "alpha": 0.65})  # fmt: skip
