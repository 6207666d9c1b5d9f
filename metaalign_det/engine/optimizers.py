"""Optimisers: Detectron2's for the model, another for discriminators where the config says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import get_default_optimizer_params, maybe_add_gradient_clipping

from ..adaptation.contract import AdaptableModel
from ..coordination.stages import is_under
from ..errors import UserError


class OptimizerChain(torch.optim.Optimizer):
    """Several optimisers that a trainer, a scheduler and a checkpoint see as one.

    Args:
        optimizers: over disjoint parameters. Their parameter groups are shared, not copied, so
            that a learning rate set here is set there.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        self.optimizers = list(optimizers)
        super().__init__([g for o in self.optimizers for g in o.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        self.param_groups = [g for o in self.optimizers for g in o.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> None:
        for optimizer in self.optimizers:
            optimizer.step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {"optimizers": [o.state_dict() for o in self.optimizers]}

    def load_state_dict(self, state_dict: dict) -> None:
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"]):
            optimizer.load_state_dict(state)
        self._share_groups()


def build_optimizer(cfg: CfgNode, model: AdaptableModel) -> torch.optim.Optimizer:
    """SGD as in Detectron2, with ``SOLVER.HEAD_LR_FACTOR`` and ``SOLVER.DISCRIMINATOR`` on top.

    With the defaults of both it is Detectron2's own optimiser.
    """
    solver = cfg.SOLVER
    kind = solver.DISCRIMINATOR.OPTIMIZER.upper()
    if kind not in ("", "SGD", "ADAM"):
        raise UserError(f"SOLVER.DISCRIMINATOR.OPTIMIZER: {kind!r} is none of '', SGD, ADAM")
    prefixes = model.discriminator_prefixes() if kind else ()
    names = {id(p): n for n, p in model.named_parameters()}
    groups = get_default_optimizer_params(
        model,
        base_lr=solver.BASE_LR,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        weight_decay=solver.WEIGHT_DECAY,
        # Not as bias_lr_factor, by which biases of heads would lose their HEAD_LR_FACTOR.
        lr_factor_func=lambda n: (
            (1.0 if is_under(n, "backbone") else solver.HEAD_LR_FACTOR)
            * (solver.BIAS_LR_FACTOR if n.rpartition(".")[2] == "bias" else 1.0)
        ),
    )
    mine = [dict(g, params=_outside(g["params"], names, prefixes)) for g in groups]
    main = maybe_add_gradient_clipping(cfg, torch.optim.SGD)(
        [g for g in mine if g["params"]],
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        nesterov=solver.NESTEROV,
        weight_decay=solver.WEIGHT_DECAY,
    )
    theirs = [
        p
        for n, p in model.named_parameters()
        if p.requires_grad and any(is_under(n, prefix) for prefix in prefixes)
    ]
    if not theirs:
        return main
    node = solver.DISCRIMINATOR
    own = ({"momentum": node.MOMENTUM} if kind == "SGD" else {"betas": tuple(node.BETAS)}) | {
        "lr": node.BASE_LR,
        "weight_decay": node.WEIGHT_DECAY,
    }
    factory = torch.optim.SGD if kind == "SGD" else torch.optim.Adam
    return OptimizerChain([main, maybe_add_gradient_clipping(cfg, factory)(theirs, **own)])


def _outside(params: Sequence, names: dict[int, str], prefixes: Sequence[str]) -> list:
    return [p for p in params if not any(is_under(names[id(p)], x) for x in prefixes)]
