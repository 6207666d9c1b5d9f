"""What a training says on the terminal."""

from __future__ import annotations

import logging
import math
from itertools import takewhile

from detectron2.utils.events import CommonMetricPrinter, EventStorage, get_event_storage

from .plain_words import in_words

logger = logging.getLogger(__name__)


class MetricPrinter(CommonMetricPrinter):
    """Detectron2's, asked twice in one iteration as well, and adaptation's numbers in words.

    In the first iterations after a start it estimates the time of one from the last two calls, and
    divides by zero where both were in the same: a run that is stopped where it has just printed.
    """

    def write(self) -> None:
        storage = get_event_storage()
        if self._last_write is None or self._last_write[0] != storage.iter:
            super().write()
            if storage.iter != self._max_iter and (said := in_words(recent(storage))):
                logger.info("%s", "; ".join(said))


def recent(storage: EventStorage, window: int = 20) -> dict[str, float]:
    """Means over the last iterations of all scalars that were recorded in them, NaN left out."""
    means = {}
    for name, history in storage.histories().items():
        latest = takewhile(lambda x: x[1] > storage.iter - window, reversed(history.values()))
        values = [value for value, _ in latest if math.isfinite(value)]
        if values:
            means[name] = sum(values) / len(values)
    return means
