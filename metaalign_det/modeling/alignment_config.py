"""An alignment method and its weight from ``MODEL.ALIGN``."""

from __future__ import annotations

from dataclasses import dataclass

from detectron2.config import CfgNode

from ..alignment.base import AlignmentMethod
from ..alignment.registry import ALIGNMENT_METHODS, build_alignment_method
from ..alignment.schedules import schedule_value
from ..config_files import meant_or_plugged_in
from ..errors import UserError


@dataclass(frozen=True)
class AlignmentWeight:
    """lambda over training: ``weight`` times a schedule.

    Args:
        weight: >= 0, the value that the schedule multiplies.
        schedule: a name of :mod:`metaalign_det.alignment.schedules`.
        steps: iterations over which the schedule runs.
        slope: of the "dann" schedule.
        start: iteration at which it begins: that of the first alignment, after a burn-in.
    """

    weight: float = 1.0
    schedule: str = "constant"
    steps: int = 1
    slope: float = 10.0
    start: int = 0

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(f"MODEL.ALIGN.LAMBDA must be >= 0, got {self.weight}")
        try:
            self.at(0)
        except ValueError as error:
            raise UserError(f"MODEL.ALIGN.SCHEDULE: {error}") from error

    def at(self, iteration: int) -> float:
        """lambda at an iteration, counted from 0."""
        since = max(0, iteration - self.start)
        return self.weight * schedule_value(self.schedule, since, self.steps, self.slope)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> AlignmentWeight:
        align = cfg.MODEL.ALIGN
        start = cfg.ADAPTATION.BURN_IN
        steps = align.SCHEDULE_STEPS or max(1, cfg.SOLVER.MAX_ITER - start)
        return cls(align.LAMBDA, align.SCHEDULE, steps, align.SCHEDULE_SLOPE, start)


def alignment_from_config(
    cfg: CfgNode, in_features: int, num_sources: int
) -> AlignmentMethod | None:
    """The method that ``MODEL.ALIGN`` describes, or None for "none".

    Args:
        cfg: a config with the keys of ``add_metaalign_config``.
        in_features: width of the features it sees.
        num_sources: number of source domains.

    Raises:
        UserError: an unknown method, a value it cannot have, or domains that cannot be aligned.
    """
    align = cfg.MODEL.ALIGN
    if align.METHOD == "none":
        return None
    if align.METHOD not in ALIGNMENT_METHODS:
        raise UserError(
            f"MODEL.ALIGN.METHOD: {align.METHOD!r} is none of none, {', '.join(ALIGNMENT_METHODS)}"
            f"{meant_or_plugged_in(align.METHOD, ALIGNMENT_METHODS)}"
        )
    num_domains = {"target": 2, "domains": num_sources + 1, "sources": num_sources}.get(
        align.BETWEEN, 2
    )
    if num_domains < 2:
        raise UserError(
            "MODEL.ALIGN.BETWEEN 'sources' needs at least two source domains: number them in "
            "DATASETS.TRAIN_DOMAINS, for example (0, 1, 2) for three data sets in DATASETS.TRAIN"
        )
    options = ALIGNMENT_METHODS[align.METHOD].options(align)
    try:
        return build_alignment_method(
            align.METHOD, in_features, cfg.MODEL.CLASSIFIER.NUM_CLASSES, num_domains, **options
        )
    except ValueError as error:
        raise UserError(f"MODEL.ALIGN, METHOD {align.METHOD!r}: {error}") from error
