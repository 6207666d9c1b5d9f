"""MetaAlign over time: role schedule, alpha, beta with its optimiser, telemetry, state."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage, get_event_storage
from torch import Tensor

from ..coordination import (
    HVPS,
    INNERS,
    ORDERS,
    Objective,
    StageGroups,
    StageWeights,
    call_at,
    check_choice,
    coordinated_step,
    frozen_batch_statistics,
)
from ..engine.loop import AdaptationLoop, Batch, Gradients, JointGradients
from ..errors import UserError
from .contract import AdaptableModel

logger = logging.getLogger(__name__)

ROLE_SCHEDULES = ("domain", "task", "alternate")


class MetaAlignHook(HookBase):
    """Makes the trainer's gradients MetaAlign's; remove it and what is left is joint training.

    It installs itself as the loop's gradient source. Everything it keeps over time (beta and its
    optimiser) is in its ``state_dict``, the rest (role, alpha) is a function of the iteration.

    Args:
        cfg: with the keys of ``cfg.METAALIGN``.
        model: the model to be trained.
    """

    def __init__(self, cfg: CfgNode, model: AdaptableModel) -> None:
        node = cfg.METAALIGN
        check_settings(cfg)
        self.cfg = node
        self.base_lr = cfg.SOLVER.BASE_LR
        self.model = model
        self.joint = JointGradients()
        self.groups = build_stage_groups(cfg, model)
        self.weights = StageWeights(
            len(self.groups),
            mode=node.BETA.MODE,
            total=node.BETA.SUM or None,
            weight=node.BETA.WEIGHT,
        )
        self.beta_optimizer = torch.optim.SGD(self.weights.parameters(), lr=node.BETA.LR)

    # ---- the hook ---------------------------------------------------------------------------

    def before_train(self) -> None:
        loop = self.trainer._trainer
        node = self.cfg
        logger.info(
            "MetaAlign: order %s, role %s, %d stage groups (%s)%s, beta %s",
            node.ORDER,
            node.ROLE,
            len(self.groups),
            ", ".join(f"{k}: {len(v)} tensors" for k, v in self.groups.stages.items()),
            f" and {len(self.groups.rest)} tensors outside them" if self.groups.rest else "",
            node.BETA.MODE,
        )
        loop.gradient_source = self
        if node.ORDER == "exact":
            self._check_second_derivatives(loop)

    def state_dict(self) -> dict:
        return {
            "beta": self.weights.state_dict(),
            "beta_optimizer": self.beta_optimizer.state_dict(),
            "groups": list(self.groups.names),
        }

    def load_state_dict(self, state: dict) -> None:
        if list(self.groups.names) != state["groups"]:
            raise UserError(
                f"the checkpoint's stage groups are {state['groups']}, the config's "
                f"{list(self.groups.names)}; METAALIGN.STAGES and MODEL.BACKBONE.FREEZE_AT must "
                "not change between a run and its resumption"
            )
        self.weights.load_state_dict(state["beta"])
        self.beta_optimizer.load_state_dict(state["beta_optimizer"])

    # ---- schedules --------------------------------------------------------------------------

    def role_at(self, iteration: int) -> str:
        """``alternate`` starts with the domain role at METAALIGN.START_ITER."""
        if self.cfg.ROLE != "alternate":
            return self.cfg.ROLE
        return "domain" if (iteration - self.cfg.START_ITER) % 2 == 0 else "task"

    def alpha_at(self, iteration: int, schedule: float) -> float:
        """alpha, given the current learning rate as a share of ``SOLVER.BASE_LR``."""
        alpha = self.cfg.META_LR * (self.base_lr * schedule if self.cfg.ALPHA == "lr" else 1.0)
        if self.cfg.WARMUP_ITERS:
            alpha *= min(1.0, (iteration - self.cfg.START_ITER) / self.cfg.WARMUP_ITERS)
        return alpha

    def _is_due(self, iteration: int, period: int) -> bool:
        """Every ``period`` iterations; with alternating roles the one after it as well."""
        if not period:
            return False
        return iteration % period < (2 if self.cfg.ROLE == "alternate" else 1)

    # ---- the gradient source ----------------------------------------------------------------

    def __call__(self, loop: AdaptationLoop, batches: Sequence[Batch]) -> Gradients:
        node = self.cfg
        if loop.iter < node.START_ITER:
            return self.joint(loop, batches)
        group = loop.optimizer.param_groups[0]
        schedule = group["lr"] / group["initial_lr"]
        alpha = self.alpha_at(loop.iter, schedule)
        role = self.role_at(loop.iter)
        due = self._is_due(loop.iter, node.TELEMETRY_PERIOD)
        measure = self._is_due(loop.iter, node.RELATIVE_CHANGE_PERIOD)
        with loop.model.fixed_samples() if measure else nullcontext():
            result = self._step(loop, batches, role, alpha, due, measure)
        if result.finite:
            self._update_beta(result.beta_gradient, schedule)
        storage = get_event_storage()
        for name, value in result.telemetry.items():
            quantity, _, group = name.removeprefix("lookahead/").partition("/")
            name = "/".join(x for x in ("lookahead", quantity, role, group) if x)
            storage.put_scalar(name, value, smoothing_hint=False)
        if due:
            for name, beta in zip(self.groups.names, self.weights.values()):
                storage.put_scalar(f"lookahead/beta/{name}", beta, smoothing_hint=False)
            storage.put_scalar("lookahead/alpha", alpha, smoothing_hint=False)
        return Gradients(result.gradients, result.losses, result.finite)

    def _step(self, loop, batches, role, alpha, telemetry, measure_change):
        exact = self.cfg.ORDER == "exact"
        # The Hessian-vector product does not survive bfloat16 (70 % relative error).
        task = task_objective(loop, batches, mixed=not (exact and role == "task"))
        alignment = alignment_objective(
            loop, batches, mixed=not (exact and role == "domain"), split=self.cfg.SPLIT_DOMAINS
        )
        with loop.model.shared_prefix():
            return coordinated_step(
                task,
                alignment,
                dict(loop.model.named_parameters()),
                self.groups,
                self.weights.values(),
                alpha,
                role=role,
                order=self.cfg.ORDER,
                hvp=self.cfg.HVP,
                through_adversary=self.cfg.THROUGH_DISCRIMINATOR,
                reduce=loop.reduce,
                inner=self.cfg.INNER_GRADIENT,
                loss_scale=loop.loss_scale,
                replay=partial(_unreported, loop.model),
                telemetry=telemetry,
                measure_change=measure_change,
            )

    def _update_beta(self, gradient: Tensor, schedule: float) -> None:
        self.weights.set_gradient(gradient)
        self.beta_optimizer.param_groups[0]["lr"] = self.cfg.BETA.LR * schedule
        self.beta_optimizer.step()

    def _check_second_derivatives(self, loop: AdaptationLoop) -> None:
        """Differentiate the first batch twice now, so that a missing derivative shows at once."""
        batch = self.trainer.peek_batch()
        loop.streams.step = self.trainer.start_iter
        roles = ("domain", "task") if self.cfg.ROLE == "alternate" else (self.cfg.ROLE,)
        with _unreported(loop.model):
            for role in roles:
                self._step(loop, [batch], role, 1e-6, False, False)


def check_settings(cfg: CfgNode) -> None:
    """Raise ``UserError`` for a value of ``cfg.METAALIGN`` that does not exist."""
    node = cfg.METAALIGN
    for key, value, choices in (
        ("ORDER", node.ORDER, ORDERS),
        ("ROLE", node.ROLE, ROLE_SCHEDULES),
        ("HVP", node.HVP, HVPS),
        ("SCOPE", node.SCOPE, ("backbone", "all")),
        ("ALPHA", node.ALPHA, ("lr", "constant")),
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
    for key in ("SUM", "WEIGHT", "LR"):
        if node.BETA[key] < 0:
            raise UserError(f"METAALIGN.BETA.{key} must be >= 0, got {node.BETA[key]}")
    if cfg.SOLVER.BASE_LR <= 0:
        raise UserError(f"SOLVER.BASE_LR must be above 0, got {cfg.SOLVER.BASE_LR}")


def build_stage_groups(cfg: CfgNode, model: AdaptableModel) -> StageGroups:
    """The stage groups that the config asks for; the backbone's own where it names none."""
    node = cfg.METAALIGN
    params = dict(model.named_parameters())
    if not model.aligns:
        raise UserError(
            "METAALIGN.ENABLED, but there is nothing to align: switch on a discriminator "
            "(MODEL.DA.*.ENABLED) or choose MODEL.ALIGN.METHOD"
        )
    try:
        own = not node.STAGES
        stages = model.backbone_stages() if own else StageGroups.parse(node.STAGES)
        groups = StageGroups.from_prefixes(
            stages,
            params,
            drop_frozen=own,
            rest=node.SCOPE == "all",
            rest_factor=node.HEAD_FACTOR,
        )
    except ValueError as error:
        raise UserError(f"METAALIGN.STAGES: {error}") from None
    frozen = [name for name in stages if name not in groups.stages]
    if frozen:
        logger.info(
            "stage groups without a trainable parameter are left out: %s", ", ".join(frozen)
        )
    return groups


def task_objective(loop: AdaptationLoop, batches: Sequence[Batch], mixed: bool) -> Objective:
    """Supervised losses. The backbone's BatchNorm tracks nothing here.

    Its statistics are those of the alignment pass, which alone sees both domains, so that they
    are updated once a step and domain as in joint training; in role task that pass is at theta'.
    """

    def evaluate(params: Mapping[str, Tensor], index: int, batch: Batch):
        loop.streams.part = index
        with loop.autocast(mixed), frozen_batch_statistics(loop.model.backbone):
            return call_at(loop.model, params, "task_losses", batch["source"])

    parts = [partial(evaluate, index=i, batch=b) for i, b in enumerate(batches)]
    return Objective(parts, [1 / len(parts)] * len(parts))


def alignment_objective(
    loop: AdaptationLoop, batches: Sequence[Batch], mixed: bool, split: bool
) -> Objective:
    """Alignment terms, one domain at a time where the model allows."""

    def evaluate(params: Mapping[str, Tensor], index: int, source: list, target: list):
        loop.streams.part = index
        with loop.autocast(mixed):
            return call_at(loop.model, params, "alignment_terms", source, target)

    parts = []
    for i, batch in enumerate(batches):
        source, target = batch["source"], batch["target"]
        separate = split and loop.model.alignment_separable and source and target
        halves = [(source, []), ([], target)] if separate else [(source, target)]
        parts += [partial(evaluate, index=i, source=s, target=t) for s, t in halves]
    return Objective(parts, [1 / len(batches)] * len(parts))


@contextmanager
def _unreported(model: AdaptableModel) -> Iterator[None]:
    """For passes that are not reported: a throw-away storage, and BatchNorm tracks nothing.

    The storage stands at the same iteration, which schedules inside models depend on.
    """
    with EventStorage(get_event_storage().iter), frozen_batch_statistics(model):
        yield
