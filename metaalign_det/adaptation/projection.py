"""PCGrad and its kin: two gradients at theta, weighed by their inner products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detectron2.config import CfgNode

from ..coordination import WEIGHTINGS, Projection, StageGroups, Weighting
from ..errors import UserError
from .contract import AdaptableModel
from .learning import Learning
from .source import GradientSource
from .stage_groups import build_stage_groups
from .step import Batch, Gradients, StepContext


class ProjectedGradients(GradientSource):
    """Shared parameters descend a weighted sum of both gradients (:class:`.Projection`).

    Args:
        groups: the shared parameters.
        weighting: Gramian -> weights (:data:`.WEIGHTINGS`).
        per_stage: weigh each stage group by itself.
        telemetry_period: iterations between records of cosine and weights; 0 = off.
        learning: what is learned; None = labelled source images alone.
    """

    def __init__(
        self,
        groups: StageGroups,
        weighting: Weighting,
        *,
        per_stage: bool = False,
        telemetry_period: int = 20,
        learning: Learning | None = None,
    ) -> None:
        super().__init__(learning)
        self.projection = Projection(groups, weighting, per_stage)
        self.telemetry_period = telemetry_period

    @classmethod
    def from_config(
        cls, cfg: CfgNode, model: AdaptableModel, learning: Learning
    ) -> ProjectedGradients:
        node = cfg.ADAPTATION
        options = {"gradvac": {"beta": node.GRADVAC_BETA}, "cagrad": {"c": node.CAGRAD_C}}
        try:
            weighting = WEIGHTINGS[node.COORDINATOR](**options.get(node.COORDINATOR, {}))
        except ValueError as error:
            raise UserError(f"ADAPTATION.COORDINATOR {node.COORDINATOR!r}: {error}") from error
        return cls(
            build_stage_groups(cfg, model),
            weighting,
            per_stage=node.PER_STAGE,
            telemetry_period=cfg.METAALIGN.TELEMETRY_PERIOD,
            learning=learning,
        )

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        objectives = self.learning.objectives(step, batches)
        period = self.telemetry_period
        with step.model.shared_prefix():
            result = self.projection(
                objectives.task(),
                objectives.alignment(),
                step.parameters,
                reduce=step.reduce,
                loss_scale=step.loss_scale,
                telemetry=bool(period) and step.iteration % period == 0 and objectives.aligns,
            )
        metrics = {**self.learning.metrics(), **result.telemetry}
        return Gradients(result.gradients, result.losses, result.finite, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {"weightings": self.projection.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        names = list(self.projection.weightings)
        # Earlier versions kept one state for all stage groups.
        saved = state.get("weightings", dict.fromkeys(names, state.get("weighting", {})))
        if not any(saved.values()):
            return
        if list(saved) != names:
            raise UserError(
                f"the checkpoint weighs gradients in {list(saved)}, the config in {names}; "
                "ADAPTATION.PER_STAGE, METAALIGN.STAGES and MODEL.BACKBONE.FREEZE_AT must not "
                "change between a run and its resumption"
            )
        self.projection.load_state_dict(saved)
