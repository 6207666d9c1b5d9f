"""What a training says on the terminal."""

from __future__ import annotations

from detectron2.utils.events import CommonMetricPrinter, get_event_storage


class MetricPrinter(CommonMetricPrinter):
    """Detectron2's, asked twice in one iteration as well.

    In the first iterations after a start it estimates the time of one from the last two calls, and
    divides by zero where both were in the same: a run that is stopped where it has just printed.
    """

    def write(self) -> None:
        if self._last_write is None or self._last_write[0] != get_event_storage().iter:
            super().write()
