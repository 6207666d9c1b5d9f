"""Charts as small inline SVG: readable in light and dark, by colour-blind readers and without eyes.

Colours are classes (``c0`` .. ``c6``) that the page's style sheet resolves, so that they follow
the reader's theme; dashes (``d0`` .. ``d4``) and markers tell lines apart where colours do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .document import Figure
from .statistics import Interval

#: Values to pixels, and the least and greatest value.
Scale = Callable[[Any], Any]
Range = tuple[float, float]

COLORS, DASHES = 7, 5
_MOST_POINTS = 200
_WIDTH, _HEIGHT = 480, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 12, 14, 40


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Args:
        name: for those who cannot see it.
        x, y: shape (n,).
        color: index of its colour, the group's.
        dash: index of its dash, the scalar's.
        low, high: shape (n,), ends of a band around it; None for no band.
    """

    name: str
    x: ArrayLike
    y: ArrayLike
    color: int = 0
    dash: int = 0
    low: ArrayLike | None = None
    high: ArrayLike | None = None


@dataclass(frozen=True)
class Estimate:
    """A number with its interval, a row of :func:`interval_chart`."""

    name: str
    value: float
    interval: Interval
    color: int = 0


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    y_label: str = "",
    x_label: str = "iteration",
    reference: tuple[float, str] | None = None,
    y_range: tuple[float, float] | None = None,
    x_range: tuple[float, float] | None = None,
    diagonal: bool = False,
    legend: Sequence[tuple[str, str]] = (),
) -> Figure:
    """Lines over a common axis.

    Args:
        title: above it.
        lines: values that are not finite are left out.
        y_label, x_label: what the axes say.
        reference: (height, name) of a level to draw, such as chance.
        y_range, x_range: ends of the axes; None = what the lines need.
        diagonal: also draw y = x, as in a reliability diagram.
        legend: see :class:`.Figure`.
    """
    lines = [_thinned(line) for line in lines]
    lines = [line for line in lines if len(line.x)]
    values = [
        v for ln in lines for part in (ln.y, ln.low, ln.high) if part is not None for v in part
    ]
    values += [] if reference is None else [reference[0]]
    xs = [v for line in lines for v in line.x]
    low, high = y_range or _padded(min(values, default=0.0), max(values, default=1.0))
    start, end = x_range or (min(xs, default=0.0), max(xs, default=1.0))
    end = end if end > start else start + 1.0

    def px(x: Any) -> Any:
        return _LEFT + (np.asarray(x, float) - start) / (end - start) * (_WIDTH - _LEFT - _RIGHT)

    def py(y: Any) -> Any:
        y = np.clip(np.asarray(y, float), low, high)
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [*_axes(px, py, (start, end), (low, high), x_label, y_label)]
    if diagonal:
        parts.append(_segment(px(start), py(start), px(end), py(end), "ref"))
    if reference is not None:
        height = float(py(reference[0]))
        parts.append(_segment(_LEFT, height, _WIDTH - _RIGHT, height, "ref"))
        label = _text(_WIDTH - _RIGHT, height - 6, reference[1], "reft", "end")
    for line in lines:
        if line.low is not None and line.high is not None and len(line.x) > 1:
            there, back = _points(px(line.x), py(line.low)), _points(px(line.x), py(line.high))
            points = " ".join([*there, *reversed(back)])
            parts.append(f'<polygon class="band c{line.color % COLORS}" points="{points}"/>')
    for line in lines:
        style = f"c{line.color % COLORS} d{line.dash % DASHES}"
        points = _points(px(line.x), py(line.y))
        parts.append(f'<polyline class="line {style}" points="{" ".join(points)}"/>')
        if len(points) < 12:
            dots = (p.split(",") for p in points)
            parts += [f'<circle class="dot {style}" cx="{x}" cy="{y}" r="3.2"/>' for x, y in dots]
    if reference is not None:
        parts.append(label)  # above the lines
    alt = "; ".join(_told(line) for line in lines)
    if reference is not None:
        alt += f"; {reference[1]} is {_number(reference[0])}"
    return Figure(title, _svg(_WIDTH, _HEIGHT, title, alt, parts), alt, legend)


def interval_chart(title: str, estimates: Sequence[Estimate], unit: str) -> Figure:
    """Differences with their intervals, one a row, against a line at zero.

    Args:
        title: above it.
        estimates: an interval that is not known is left out, its value is drawn.
        unit: what the axis says.
    """
    row, name_height = 46, 16
    height = row * len(estimates) + 44
    ends = [0.0]
    for e in estimates:
        ends += [v for v in (e.value, *e.interval) if math.isfinite(v)]
    low, high = _padded(min(ends), max(ends))
    left = 12

    def px(x: Any) -> Any:
        return left + (float(x) - low) / (high - low) * (_WIDTH - 2 * left)

    base = height - 40
    parts = [_segment(px(0), 4, px(0), base, "ref")]
    for tick in _ticks(low, high):
        parts.append(_segment(px(tick), base, px(tick), base + 4, "axis"))
        parts.append(_text(px(tick), base + 17, _signed(tick), "tick", "middle"))
    parts.append(_text(_WIDTH / 2, height - 6, unit, "label", "middle"))
    told = []
    for i, e in enumerate(estimates):
        y, style = i * row + name_height + 14, f"c{e.color % COLORS}"
        told.append(f"{e.name}: {_signed(e.value)}")
        parts.append(_text(left, i * row + name_height - 2, e.name, "rowname", "start"))
        if all(math.isfinite(v) for v in e.interval):
            a, b = px(e.interval.low), px(e.interval.high)
            parts.append(_segment(a, y, b, y, f"whisker {style}"))
            parts += [_segment(v, y - 6, v, y + 6, f"whisker {style}") for v in (a, b)]
            told[-1] += f", interval {_signed(e.interval.low)} to {_signed(e.interval.high)}"
        parts.append(f'<circle class="dot {style}" cx="{px(e.value):.1f}" cy="{y}" r="5"/>')
    alt = "; ".join(told)
    return Figure(title, _svg(_WIDTH, height, title, alt, parts), alt, wide=False)


def bar_chart(
    title: str,
    categories: Sequence[str],
    series: Sequence[tuple[str, Sequence[float], int]],
    *,
    y_label: str,
    legend: Sequence[tuple[str, str]] = (),
) -> Figure:
    """Groups of bars, one group a category.

    Args:
        title: above it.
        categories: names below the groups.
        series: (name, one value a category, colour) of each bar in a group.
        y_label: what the axis says.
        legend: see :class:`.Figure`.
    """
    values = [v for _, heights, _ in series for v in heights if math.isfinite(v)]
    low, high = min([0.0, *values]), max([0.0, *values])
    high = high + 0.06 * (high - low) if high > low else 1.0

    def py(y: Any) -> Any:
        return _HEIGHT - _BOTTOM - (y - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    width = (_WIDTH - _LEFT - _RIGHT) / max(len(categories), 1)
    bar = 0.8 * width / max(len(series), 1)
    parts = _y_axis(py, (low, high), y_label)
    told = []
    for i, category in enumerate(categories):
        middle = _LEFT + (i + 0.5) * width
        parts.append(_text(middle, _HEIGHT - _BOTTOM + 16, category, "tick", "middle"))
        for j, (name, heights, color) in enumerate(series):
            if not math.isfinite(heights[i]):
                continue
            x = middle - 0.4 * width + j * bar
            top, bottom = sorted((py(heights[i]), py(0.0)))
            parts.append(
                f'<rect class="bar c{color % COLORS}" x="{x:.1f}" y="{top:.1f}" '
                f'width="{bar * 0.92:.1f}" height="{max(bottom - top, 0.5):.1f}"/>'
            )
            told.append(f"{category}, {name}: {_number(heights[i])}")
    parts.append(_segment(_LEFT, py(0.0), _WIDTH - _RIGHT, py(0.0), "axis"))
    alt = "; ".join(told)
    return Figure(title, _svg(_WIDTH, _HEIGHT, title, alt, parts), alt, legend)


def swatch(color: int, dash: int | None = None) -> str:
    """Class names of a legend entry: a filled square, or a line of that dash."""
    return f"c{color % COLORS}" + ("" if dash is None else f" d{dash % DASHES}")


def grey_swatch(dash: int) -> str:
    """Class names of a legend entry that stands for a dash alone."""
    return f"grey d{dash % DASHES}"


# ---- axes -----------------------------------------------------------------------------------


def _axes(
    px: Scale, py: Scale, x_range: Range, y_range: Range, x_label: str, y_label: str
) -> list[str]:
    parts = _y_axis(py, y_range, y_label)
    base = _HEIGHT - _BOTTOM
    parts.append(_segment(_LEFT, base, _WIDTH - _RIGHT, base, "axis"))
    for tick in _ticks(*x_range):
        parts.append(_segment(px(tick), base, px(tick), base + 4, "axis"))
        parts.append(_text(px(tick), base + 17, _number(tick), "tick", "middle"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 5, x_label, "label", "middle"))
    return parts


def _y_axis(py: Scale, y_range: Range, y_label: str) -> list[str]:
    parts = []
    for tick in _ticks(*y_range):
        y = float(py(tick))
        parts.append(_segment(_LEFT, y, _WIDTH - _RIGHT, y, "grid"))
        parts.append(_text(_LEFT - 6, y + 4, _number(tick), "tick", "end"))
    if y_label:
        x, y = 13, (_TOP + _HEIGHT - _BOTTOM) / 2
        parts.append(
            f'<text class="label" text-anchor="middle" transform="translate({x} {y}) rotate(-90)">'
            f"{escape(y_label)}</text>"
        )
    return parts


def _ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers between the ends."""
    raw = (high - low) / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _padded(low: float, high: float) -> tuple[float, float]:
    if high <= low:
        pad = abs(low) * 0.1 or 1.0
    else:
        pad = 0.06 * (high - low)
    return low - pad, high + pad


# ---- elements -------------------------------------------------------------------------------


def _svg(width: float, height: float, title: str, alt: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" '
        f'aria-label="{escape(f"{title}. {alt}")}">{"".join(parts)}</svg>'
    )


def _segment(x0: float, y0: float, x1: float, y1: float, style: str) -> str:
    return (
        f'<line class="{style}" x1="{float(x0):.1f}" y1="{float(y0):.1f}" '
        f'x2="{float(x1):.1f}" y2="{float(y1):.1f}"/>'
    )


def _text(x: float, y: float, text: str, style: str, anchor: str) -> str:
    return (
        f'<text class="{style}" x="{float(x):.1f}" y="{float(y):.1f}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )


def _points(x: NDArray, y: NDArray) -> list[str]:
    return [f"{a:.1f},{b:.1f}" for a, b in zip(x.tolist(), y.tolist())]


def _thinned(line: Line) -> Line:
    """Finite values only, and no more of them than can be seen."""
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    keep = np.flatnonzero(np.isfinite(y))
    if len(keep) > _MOST_POINTS:
        keep = keep[np.linspace(0, len(keep) - 1, _MOST_POINTS).round().astype(int)]
    band = [None if b is None else np.asarray(b, float)[keep] for b in (line.low, line.high)]
    return Line(line.name, x[keep], y[keep], line.color, line.dash, *band)


def _told(line: Line) -> str:
    first, last = line.y[0], line.y[-1]
    if len(line.y) == 1:
        return f"{line.name}: {_number(first)}"
    return f"{line.name}: from {_number(first)} to {_number(last)}"


def _number(value: float) -> str:
    value = float(value)
    if value and (abs(value) < 1e-4 or abs(value) >= 1e5):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.4g}".replace("-", "−")


def _signed(value: float) -> str:
    return "0" if abs(value) < 1e-12 else ("+" if value > 0 else "") + _number(value)
