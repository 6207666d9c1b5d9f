"""Settings against a baseline, seed by seed: the numbers that every section draws on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from ...errors import UserError
from ..statistics import (
    UNKNOWN,
    Interval,
    PairedDifference,
    mean_and_sd,
    paired_difference,
    t_interval,
)
from .diagnosis import Diagnoses, diagnose, error_metric, interval_over_images
from .domains import SOURCE, TARGET, choose_dataset, domains_of
from .groups import Group
from .run_files import MAIN_METRICS, STUDENT, ScoreKey


@dataclass(frozen=True)
class Comparison:
    """Everything that is compared.

    Args:
        groups: settings, the baseline first.
        metric: what they are compared by.
        domains: test set -> "source", "target" or "other".
        target, source: the test set that stands for each domain; "" for none.
        on_target, on_source: predictions held against the ground truth there.
    """

    groups: Sequence[Group]
    metric: str
    domains: dict[str, str]
    target: str
    source: str
    on_target: Diagnoses
    on_source: Diagnoses

    @property
    def baseline(self) -> Group:
        return self.groups[0]

    @property
    def metric_name(self) -> str:
        """The metric without its task: "AP50_11pt", "accuracy"."""
        return self.metric.partition("/")[2]

    @property
    def error_metric_name(self) -> str:
        """The AP that costs of errors are told in, which need not be the metric."""
        return error_metric(self.metric).partition("/")[2]

    def color(self, group: Group) -> int:
        """Index of a setting's colour, the same in every chart."""
        return [g.label for g in self.groups].index(group.label)

    def values(
        self, group: Group, dataset: str, metric: str = "", role: str = STUDENT
    ) -> dict[Hashable, float]:
        """Seed -> score in percent."""
        return group.scores(ScoreKey(role, dataset, metric or self.metric))

    def difference(self, group: Group, dataset: str, metric: str = "") -> PairedDifference:
        """Against the baseline, in points."""
        return paired_difference(
            self.values(self.baseline, dataset, metric), self.values(group, dataset, metric)
        )

    def mean(self, group: Group, dataset: str) -> float:
        """Mean score over seeds, NaN without one."""
        return mean_and_sd(list(self.values(group, dataset).values()))[0]

    def best(self) -> Group:
        """The setting with the highest mean on the target; the baseline on a tie."""
        return self._best_of(self.groups)

    def best_other(self) -> Group:
        """The best but for the baseline; of a single setting, itself."""
        return self._best_of(self.groups[1:] or self.groups)

    def _best_of(self, groups: Sequence[Group]) -> Group:
        scored = {g.label: self.mean(g, self.target) for g in groups}
        known = [g for g in groups if not math.isnan(scored[g.label])]
        return max(known or groups, key=lambda g: scored[g.label])


@dataclass(frozen=True)
class Finding:
    """A setting against the baseline on one test set.

    Args:
        label: of the setting.
        difference: by seed, in points.
        interval: 95 %, over seeds where there are at least two, else over test images.
        basis: "seeds", "images", or "" where there is no interval.
        images: 95 % interval over test images; unknown without predictions, or for a metric that
            cannot be resampled.
    """

    label: str
    difference: PairedDifference
    interval: Interval
    basis: str
    images: Interval

    @property
    def is_beyond_noise(self) -> bool:
        """The interval lies on one side of 0."""
        return self.interval.excludes_zero


def compare(
    groups: Sequence[Group], *, metric: str = "", target: str = "", source: str = ""
) -> Comparison:
    """Settle what is compared, and read the ground truth.

    Args:
        groups: settings, the baseline first.
        metric: "" for the first of MAIN_METRICS that there is.
        target, source: test sets; "" for what their names say.

    Raises:
        UserError: no run has scores, or none what was asked for.
    """
    known = {key.metric for g in groups for run in g for key in run.scores}
    if not known:
        folders = ", ".join(str(g.first.folder) for g in groups[:3])
        raise UserError(
            f"no run has been evaluated ({folders}): train to the end, or run "
            "metaalign-det train --eval-only"
        )
    if metric and metric not in known:
        totals = sorted(m for m in known if m.count("/") == 1)
        raise UserError(f"--metric {metric}: no run has it; they have {', '.join(totals)}")
    if not metric:
        metric = next((m for m in MAIN_METRICS if m in known), min(known))
    domains = domains_of(groups)
    target = choose_dataset(domains, TARGET, target) or next(iter(domains), "")
    source = choose_dataset(domains, SOURCE, source)
    source = "" if source == target else source
    return Comparison(
        groups,
        metric,
        domains,
        target,
        source,
        diagnose(groups, target, metric),
        diagnose(groups, source, metric),
    )


def find_differences(comparison: Comparison) -> list[Finding]:
    """Every setting but the baseline, against it, on the target."""
    found = []
    for group in comparison.groups[1:]:
        difference = comparison.difference(group, comparison.target)
        images = UNKNOWN
        if difference.values:
            images = interval_over_images(
                comparison.on_target, comparison.baseline.label, group.label, comparison.metric
            )
        by_seed = t_interval(list(difference.values.values()))
        if not math.isnan(by_seed.low):
            interval, basis = by_seed, "seeds"
        elif not math.isnan(images.low):
            interval, basis = images, "images"
        else:
            interval, basis = UNKNOWN, ""
        found.append(Finding(group.label, difference, interval, basis, images))
    return found
