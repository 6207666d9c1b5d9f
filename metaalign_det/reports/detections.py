"""A picture of what several detectors find on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError

# Boxes (n, 4) as x0, y0, x1, y1 in pixels, classes (n,), scores (n,) or None for ground truth.
Found = tuple[ArrayLike, ArrayLike, ArrayLike | None]

_CELL = 2.3  # inches, the longer side of an image
# Bright enough to be seen on paper and on photographs, dark enough for white letters.
_COLOURS = (
    "#0072B2", "#D55E00", "#00875A", "#B5489A", "#6A3FB5", "#A67C00",
    "#C2185B", "#00838F", "#5D4037", "#37474F",
)  # fmt: skip


def draw_detections(
    images: Sequence[NDArray],
    rows: Mapping[str, Sequence[Found]],
    class_names: Sequence[str],
    out_png: str | Path,
    ground_truth: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
    *,
    score_threshold: float = 0.5,
    title: str = "",
) -> None:
    """Write a grid: one column an image, one row a detector, the ground truth on top.

    Args:
        images: n arrays of shape (H, W, 3), RGB, uint8; the sizes may differ.
        rows: label -> n entries of boxes (k, 4) in absolute pixels of the image, classes (k,)
            and scores (k,).
        class_names: name of each class number.
        out_png: picture to write; its folder is made.
        ground_truth: n entries of boxes (k, 4) and classes (k,); None for no such row.
        score_threshold: detections below it are not drawn.
        title: line above the grid.

    Raises:
        UserError: if there is no image, or a row has not one entry per image.
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    every: dict[str, Sequence[Found]] = {}
    if ground_truth is not None:
        every["ground truth"] = [(boxes, classes, None) for boxes, classes in ground_truth]
    every |= rows
    if not images or not every:
        raise UserError("a picture of detections needs at least one image and one row")
    for label, entries in every.items():
        if len(entries) != len(images):
            raise UserError(f"row {label!r} has {len(entries)} entries for {len(images)} images")

    widths = [_CELL * im.shape[1] / max(im.shape[:2]) for im in images]
    height = max(_CELL * im.shape[0] / max(im.shape[:2]) for im in images)
    above = 0.35 if title else 0.0
    size = (sum(widths) + 0.06 * len(images) + 0.4, (height + 0.06) * len(every) + above)
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.0, hspace=0.0)
    grid = figure.subplots(len(every), len(images), squeeze=False, width_ratios=widths)
    for line, (label, entries) in zip(grid, every.items()):
        for ax, image, (boxes, classes, scores) in zip(line, images, entries):
            ax.imshow(image, interpolation="lanczos")
            ax.set(xticks=[], yticks=[], xlim=(0, image.shape[1]), ylim=(image.shape[0], 0))
            ax.spines[:].set_visible(False)
            _draw(ax, boxes, classes, scores, class_names, score_threshold)
        line[0].set_ylabel(label, fontsize=9)
    if title:
        figure.suptitle(title, fontsize=10)
    Path(out_png).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_png, facecolor="white")


def _draw(
    ax: Any,
    boxes: Any,
    classes: Any,
    scores: Any,
    class_names: Sequence[str],
    score_threshold: float,
) -> None:
    from matplotlib.patches import Rectangle

    boxes = np.asarray(boxes, dtype=float).reshape(-1, 4)
    classes = np.asarray(classes, dtype=int).reshape(-1)
    scores = None if scores is None else np.asarray(scores, dtype=float).reshape(-1)
    order = range(len(boxes)) if scores is None else np.argsort(scores)  # the best ends on top
    for i in order:
        if scores is not None and scores[i] < score_threshold:
            continue
        x0, y0, x1, y1 = boxes[i]
        colour = _COLOURS[classes[i] % len(_COLOURS)]
        ax.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.4)
        )
        name = class_names[classes[i]]
        ax.text(
            max(x0, 0),
            max(y0, 0),
            name if scores is None else f"{name} {scores[i]:.2f}",
            fontsize=5.5,
            color="white",
            va="top",
            clip_on=True,
            parse_math=False,
            bbox={"facecolor": colour, "edgecolor": "none", "pad": 0.8},
        )
