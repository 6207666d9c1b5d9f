"""What a training learns besides labelled source images, and over which part of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import NaiveSyncBatchNorm
from detectron2.utils import comm
from torch import nn

from ..coordination import check_choice
from ..errors import UserError
from .adaptive_bn import tracking_layers
from .class_odds import ClassOdds
from .contract import STATISTICS, AdaptableModel
from .objectives import Objectives
from .step import Batch, StepContext
from .teacher import Teacher, WeightAverage


@dataclass
class Learning:
    """Answers the first of adaptation's three questions, what is learned, for any coordinator.

    Args:
        average: of the student's weights, kept up after every step; None = none.
        teacher: gives lessons on target images; None = labelled source images alone.
        burn_in: iterations at the start that train the task on the source alone.
        split: differentiate one domain of the alignment at a time where the model allows.
    """

    average: WeightAverage | None = None
    teacher: Teacher | None = None
    burn_in: int = 0
    split: bool = True

    @classmethod
    def from_config(cls, cfg: CfgNode, model: AdaptableModel) -> Learning:
        """From the nodes ``EMA``, ``TEACHER`` and ``ADAPTATION``; sets ``model.statistics``.

        Raises:
            UserError: a value out of range, or a teacher or statistics without what they need.
        """
        node, burn_in = cfg.TEACHER, cfg.ADAPTATION.BURN_IN
        model.statistics = _statistics(cfg, model)
        if burn_in < 0:
            raise UserError(f"ADAPTATION.BURN_IN must be >= 0, got {burn_in}")
        average = teacher = None
        if cfg.EMA.ENABLED:
            average = WeightAverage(model, cfg.EMA.DECAY, max(cfg.EMA.START_ITER, 0))
        if node.ENABLED:
            if average is None:
                raise UserError("TEACHER.ENABLED needs an average of weights: set EMA.ENABLED True")
            if not cfg.DATASETS.TARGET:
                raise UserError("TEACHER.ENABLED needs target images: name some in DATASETS.TARGET")
            if cfg.INPUT.VIEWS.TARGET != "both":
                raise UserError(
                    "TEACHER.ENABLED: the teacher sees weak views and the student strong ones; set "
                    "INPUT.VIEWS.TARGET 'both'"
                )
            if node.METHOD == "soft":
                model.check_distillation()
            else:
                _check_passes(model)
            odds = _class_odds(node, model)
            teacher = Teacher(
                average,
                node.METHOD,
                node.THRESHOLD,
                node.WEIGHT,
                node.BOX_LOSSES,
                max(node.START_ITER, burn_in),
                odds,
            )
        return cls(average, teacher, burn_in, cfg.METAALIGN.SPLIT_DOMAINS)

    def objectives(
        self, step: StepContext, batches: Sequence[Batch], align: bool | None = None
    ) -> Objectives:
        """Both objectives of a step.

        Args:
            step: which step, of which model.
            batches: its micro-batches.
            align: whether there is an alignment; None = after burn-in.
        """
        align = step.iteration >= self.burn_in if align is None else align
        objectives = Objectives(step, batches, self.teacher, align=align, split=self.split)
        objectives.track_target()
        return objectives

    def metrics(self) -> dict[str, float]:
        """Numbers of the last step to report, by name."""
        return {} if self.teacher is None else dict(self.teacher.metrics)

    def after_step(self, step: StepContext, applied: bool) -> None:
        """Take the new weights into the average, and what was taught into the teacher."""
        if not applied:
            return
        if self.teacher is not None:
            self.teacher.after_step()
        if self.average is not None:
            self.average.update(step.model, step.iteration)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs beside the average; {} without any."""
        return {} if self.teacher is None else self.teacher.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; {} starts anew."""
        if self.teacher is not None:
            self.teacher.load_state_dict(state)


def _check_passes(model: AdaptableModel) -> None:
    """No layer waits in one process for a pass that another, without a label, leaves out."""
    if comm.get_world_size() == 1:
        return
    if any(isinstance(m, nn.SyncBatchNorm | NaiveSyncBatchNorm) for m in model.modules()):
        raise UserError(
            "TEACHER.METHOD 'hard' and BatchNorm over all processes (NORM 'SyncBN') do not go "
            "together: a process without a label has no pass over target images, for which the "
            "others would wait. Set NORM 'BN' or 'FrozenBN' (MODEL.RESNETS, MODEL.FPN, "
            "MODEL.ROI_BOX_HEAD), or TEACHER.METHOD 'soft'"
        )


def _statistics(cfg: CfgNode, model: AdaptableModel) -> str:
    """``ADAPTATION.STATISTICS``, of a model and data that it makes a difference to."""
    key = "ADAPTATION.STATISTICS"
    value = cfg.ADAPTATION.STATISTICS
    try:
        check_choice(key, value, STATISTICS)
    except ValueError as error:
        raise UserError(str(error)) from None
    if value == "target":
        if not cfg.DATASETS.TARGET:
            raise UserError(f"{key} 'target' needs target images: name some in DATASETS.TARGET")
        if not tracking_layers(model.backbone):
            raise UserError(
                f"{key} 'target': the backbone has no BatchNorm that is trained; set "
                "MODEL.RESNETS.NORM 'BN' (FrozenBN keeps the statistics it was loaded with), or "
                f"{key} 'both'"
            )
    return value


def _class_odds(node: CfgNode, model: AdaptableModel) -> ClassOdds | None:
    if not node.CLASS_ODDS.ENABLED:
        return None
    if not hasattr(model, "num_classes"):
        raise UserError(
            f"TEACHER.CLASS_ODDS needs the number of classes: give {type(model).__name__} an "
            "attribute num_classes, and its pseudo_labels the argument log_odds"
        )
    return ClassOdds(model.num_classes, node.CLASS_ODDS.RATE)
