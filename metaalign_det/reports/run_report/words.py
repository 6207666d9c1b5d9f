"""Numbers as the report says them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..statistics import Interval, mean_and_sd


def number(value: float, digits: int = 1) -> str:
    """``12.3``, ``−0.4``; ``–`` for NaN."""
    if math.isnan(value):
        return "–"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no "−0.0"


def signed(value: float, digits: int = 1) -> str:
    """``+1.2``, ``−0.4``, ``0.0``; ``–`` for NaN."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and float(text.replace("−", "-")) != 0 else text


def mean_sd(values: Sequence[float], digits: int = 1) -> str:
    """``34.1 ± 0.8`` over several values, ``34.1`` for one, ``–`` for none."""
    mean, sd = mean_and_sd(list(values))
    text = number(mean, digits)
    return text if math.isnan(sd) else f"{text} ± {number(sd, digits)}"


def interval(ends: Interval, digits: int = 1) -> str:
    """``−0.3 to +2.1``; ``–`` where it is not known."""
    if math.isnan(ends.low):
        return "–"
    return f"{signed(ends.low, digits)} to {signed(ends.high, digits)}"


def seconds(value: float) -> str:
    """``0.38 s``, ``12 min``, ``3.4 h``; ``–`` for NaN."""
    if math.isnan(value):
        return "–"
    if value < 90:
        return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def setting(value: object) -> str:
    """A value of a config as text."""
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    text = str(value)
    return "(empty)" if text == "" else text


def listed(words: Sequence[str], most: int = 6) -> str:
    """``a, b and c``; of many, the first and how many more."""
    words = list(words)
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most} more"
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"
