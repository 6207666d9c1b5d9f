"""MetaAlign over time: role schedule, alpha, beta with its optimizer, telemetry, state."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from torch import Tensor

from ..coordination import (
    DIRECTIONS,
    HVPS,
    INNERS,
    ORDERS,
    Lookahead,
    StageWeights,
    StepResult,
    check_choice,
)
from ..errors import UserError
from .contract import AdaptableModel
from .joint import JointGradients
from .learning import Learning
from .objectives import Objectives, untracked
from .source import GradientSource
from .stage_groups import build_stage_groups
from .step import Batch, Gradients, StepContext, split_batch

logger = logging.getLogger(__name__)

ROLE_SCHEDULES = ("alignment", "task", "alternate")
ALPHAS = ("lr", "constant", "length", "relative")

#: Names of METAALIGN.ROLE in configs of earlier versions and in the paper.
_ROLE_ALIASES = {"domain": "alignment"}

_CHANGE = "lookahead/relative_change"


class MetaAlignGradients(GradientSource):
    """One objective looks ahead, the other is asked to be good there (:class:`.Lookahead`).

    What it keeps over time is in its state: beta with its optimizer, and alpha where that follows
    measurements. The role is a function of the iteration.

    Args:
        cfg: with the keys of ``cfg.METAALIGN``.
        model: the model to be trained.
        learning: what is learned; None = labelled source images alone.

    Raises:
        UserError: a value that does not exist or is out of range; nothing to align; stage groups
            that do not fit the model.
    """

    def __init__(
        self, cfg: CfgNode, model: AdaptableModel, learning: Learning | None = None
    ) -> None:
        super().__init__(learning)
        check_settings(cfg)
        node = cfg.METAALIGN
        self.cfg = node
        self.base_lr = cfg.SOLVER.BASE_LR
        self.micro_batches = cfg.SOLVER.ACCUMULATION_STEPS
        self.role = _ROLE_ALIASES.get(node.ROLE, node.ROLE)
        self.joint = JointGradients(self.learning)
        self.groups = build_stage_groups(cfg, model)
        try:
            self.lookahead = Lookahead(
                self.groups,
                order=node.ORDER,
                hvp=node.HVP,
                through_adversary=node.THROUGH_DISCRIMINATOR,
                inner=node.INNER_GRADIENT,
                direction=node.DIRECTION,
                normalized=node.ALPHA == "length",
            )
        except ValueError as error:
            raise UserError(f"METAALIGN: {error}") from None
        self.weights = StageWeights(
            len(self.groups),
            mode=node.BETA.MODE,
            total=node.BETA.SUM or None,
            weight=node.BETA.WEIGHT,
        )
        self.beta_optimizer = torch.optim.SGD(self.weights.parameters(), lr=node.BETA.LR)
        #: First iteration with a lookahead: there is nothing to coordinate in a burn-in.
        self.start_iter = max(node.START_ITER, self.learning.burn_in)
        #: Role -> alpha under ALPHA "relative", which starts at META_LR.
        self.measured_alpha: dict[str, float] = {}
        self._generator = torch.Generator()

    @classmethod
    def from_config(
        cls, cfg: CfgNode, model: AdaptableModel, learning: Learning
    ) -> MetaAlignGradients:
        return cls(cfg, model, learning)

    # ---- the source -------------------------------------------------------------------------

    def before_train(self, step: StepContext, batch: Batch) -> None:
        node = self.cfg
        logger.info(
            "MetaAlign: order %s, role %s, direction %s, %d stage groups (%s)%s, beta %s",
            node.ORDER,
            self.role,
            node.DIRECTION,
            len(self.groups),
            ", ".join(f"{k}: {len(v)} tensors" for k, v in self.groups.stages.items()),
            f" and {len(self.groups.rest)} tensors outside them" if self.groups.rest else "",
            node.BETA.MODE,
        )
        if node.ORDER == "exact":  # a missing second derivative shows at once
            roles = ("alignment", "task") if self.role == "alternate" else (self.role,)
            # As little memory as a step needs, and with the alignment that burn-in puts off.
            part = split_batch(batch, self.micro_batches)[:1]
            with untracked(step.model):
                for role in roles:
                    objectives = self.learning.objectives(step, part, align=True)
                    self._step(step, objectives, role, 1e-6)

    def __call__(self, step: StepContext, batches: Sequence[Batch]) -> Gradients:
        node = self.cfg
        objectives = self.learning.objectives(step, batches)
        if step.iteration < self.start_iter or not objectives.aligns:
            return self.joint.descend(step, objectives)
        role = self.role_at(step.iteration)
        alpha = self.alpha_at(step.iteration, step.lr_share)
        due = self._is_due(step.iteration, node.TELEMETRY_PERIOD)
        warm_up = self._warm_up(step.iteration)
        measure = warm_up > 0 and self._is_due(step.iteration, self._measuring_period())
        with step.model.fixed_samples() if measure else nullcontext():
            result = self._step(step, objectives, role, alpha, due, measure)
        if result.finite:
            self._update_beta(result.beta_gradient, step.lr_share)
            if node.ALPHA == "relative" and measure:
                change = result.telemetry[_CHANGE] = self._mean_change(step, result)
                if change > 0:  # 0 where a schedule's lambda is: nothing was looked along
                    self._follow(role, change, warm_up)
        metrics = self.learning.metrics()
        for name, value in result.telemetry.items():
            quantity, _, group = name.removeprefix("lookahead/").partition("/")
            metrics["/".join(x for x in ("lookahead", quantity, role, group) if x)] = value
        if due:
            metrics["lookahead/alpha"] = alpha
            for name, beta in zip(self.groups.names, self.weights.values()):
                metrics[f"lookahead/beta/{name}"] = beta
        return Gradients(result.gradients, result.losses, result.finite, metrics)

    def state_dict(self) -> dict[str, Any]:
        return {
            "beta": self.weights.state_dict(),
            "beta_optimizer": self.beta_optimizer.state_dict(),
            "groups": list(self.groups.names),
            "alpha": dict(self.measured_alpha),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if list(self.groups.names) != state["groups"]:
            raise UserError(
                f"the checkpoint's stage groups are {state['groups']}, the config's "
                f"{list(self.groups.names)}; METAALIGN.STAGES and MODEL.BACKBONE.FREEZE_AT must "
                "not change between a run and its resumption"
            )
        self.weights.load_state_dict(state["beta"])
        self.beta_optimizer.load_state_dict(state["beta_optimizer"])
        # Earlier versions could hold 0 there, which nothing that multiplies it moves.
        self.measured_alpha = {r: a for r, a in state.get("alpha", {}).items() if a > 0}

    # ---- schedules --------------------------------------------------------------------------

    def role_at(self, iteration: int) -> str:
        """``alternate`` starts with METAALIGN.FIRST_ROLE at the first lookahead."""
        if self.role != "alternate":
            return self.role
        first = iteration - self.start_iter
        if self.cfg.FIRST_ROLE == "task":
            first += 1
        return "alignment" if first % 2 == 0 else "task"

    def alpha_at(self, iteration: int, lr_share: float) -> float:
        """alpha, given the current learning rate as a share of ``SOLVER.BASE_LR``."""
        alpha = self.cfg.META_LR
        if self.cfg.ALPHA == "lr":
            alpha *= self.base_lr * lr_share
        elif self.cfg.ALPHA == "relative":
            alpha = self.measured_alpha.get(self.role_at(iteration), alpha)
        return alpha * self._warm_up(iteration)

    def _warm_up(self, iteration: int) -> float:
        """The share of alpha in [0, 1] that METAALIGN.WARMUP_ITERS leaves."""
        if not self.cfg.WARMUP_ITERS:
            return 1.0
        return min(1.0, (iteration - self.start_iter) / self.cfg.WARMUP_ITERS)

    def _mean_change(self, step: StepContext, result: StepResult) -> float:
        """The relative change, the same in every process: all have to follow one alpha."""
        change = result.telemetry[_CHANGE]
        if self.cfg.INNER_GRADIENT == "global":
            return change
        number = result.beta_gradient.new_tensor(change)
        return float(step.reduce([(_CHANGE, number)], {_CHANGE: number})[0])

    def _follow(self, role: str, change: float, warm_up: float) -> None:
        """Move alpha towards the relative change that is asked for, by at most a factor of 2.

        While it warms up towards the same share of that change, which is about linear in alpha.
        """
        factor = warm_up * self.cfg.RELATIVE_CHANGE / change
        alpha = self.measured_alpha.get(role, self.cfg.META_LR)
        self.measured_alpha[role] = alpha * min(2.0, max(0.5, factor))

    def _measuring_period(self) -> int:
        period = self.cfg.RELATIVE_CHANGE_PERIOD
        return period or 20 if self.cfg.ALPHA == "relative" else period

    def _is_due(self, iteration: int, period: int) -> bool:
        """Every ``period`` iterations; with alternating roles the one after it as well."""
        if not period:
            return False
        return iteration % period < (2 if self.role == "alternate" else 1)

    # ---- parts ------------------------------------------------------------------------------

    def _step(
        self,
        step: StepContext,
        objectives: Objectives,
        role: str,
        alpha: float,
        telemetry: bool = False,
        measure_change: bool = False,
    ) -> StepResult:
        exact = self.cfg.ORDER == "exact"
        looks = role == "alignment"
        # The Hessian-vector product does not survive bfloat16 (70 % relative error).
        task = objectives.task(track=not looks, mixed=looks or not exact)
        alignment = objectives.alignment(track=looks, mixed=not looks or not exact)
        # In the same state in every process, which all look in the same direction.
        self._generator.manual_seed(step.streams.seed * 1_000_003 + step.iteration)
        with step.model.shared_prefix():
            if looks:  # joint training tracks the task's pass before the alignment's
                objectives.track(task=True)
            result = self.lookahead(
                task,
                alignment,
                step.parameters,
                self.weights.values(),
                alpha,
                role=role,
                reduce=step.reduce,
                loss_scale=step.loss_scale,
                replay=partial(untracked, step.model),
                generator=self._generator,
                telemetry=telemetry,
                measure_change=measure_change,
            )
            if not looks:
                objectives.track(alignment=True)
        return result

    def _update_beta(self, gradient: Tensor, lr_share: float) -> None:
        self.weights.set_gradient(gradient)
        self.beta_optimizer.param_groups[0]["lr"] = self.cfg.BETA.LR * lr_share
        self.beta_optimizer.step()


def check_settings(cfg: CfgNode) -> None:
    """Raise ``UserError`` for a value of ``cfg.METAALIGN`` that does not exist."""
    node = cfg.METAALIGN
    for key, value, choices in (
        ("ORDER", node.ORDER, ORDERS),
        ("ROLE", _ROLE_ALIASES.get(node.ROLE, node.ROLE), ROLE_SCHEDULES),
        ("FIRST_ROLE", _ROLE_ALIASES.get(node.FIRST_ROLE, node.FIRST_ROLE), ROLE_SCHEDULES[:2]),
        ("HVP", node.HVP, HVPS),
        ("SCOPE", node.SCOPE, ("backbone", "all")),
        ("ALPHA", node.ALPHA, ALPHAS),
        ("DIRECTION", node.DIRECTION, DIRECTIONS),
        ("INNER_GRADIENT", node.INNER_GRADIENT, INNERS),
        ("BETA.MODE", node.BETA.MODE, StageWeights.MODES),
    ):
        try:
            check_choice(f"METAALIGN.{key}", value, choices)
        except ValueError as error:
            raise UserError(str(error)) from None
    for key in ("META_LR", "HEAD_FACTOR", "WARMUP_ITERS", "START_ITER", "TELEMETRY_PERIOD",
                "RELATIVE_CHANGE_PERIOD"):  # fmt: skip
        if node[key] < 0:
            raise UserError(f"METAALIGN.{key} must be >= 0, got {node[key]}")
    if node.RELATIVE_CHANGE <= 0:
        raise UserError(f"METAALIGN.RELATIVE_CHANGE must be above 0, got {node.RELATIVE_CHANGE}")
    for key in ("SUM", "WEIGHT", "LR"):
        if node.BETA[key] < 0:
            raise UserError(f"METAALIGN.BETA.{key} must be >= 0, got {node.BETA[key]}")
    if cfg.SOLVER.BASE_LR <= 0:
        raise UserError(f"SOLVER.BASE_LR must be above 0, got {cfg.SOLVER.BASE_LR}")
