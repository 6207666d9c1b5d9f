"""How two objectives share a step. Imports torch only; can be used without Detectron2.

Two objectives are functions of named parameters to named losses. A coordinator is built once and
called with both every step; it returns gradients, and the caller applies them:
:class:`Lookahead` (MetaAlign, first order and exact), :class:`Projection` (PCGrad, GradVac,
CAGrad, MGDA, UPGrad, Nash-MTL), :class:`Extragradient`, :class:`SmoothTask` (SDAT). Formulas stand
at the head of each module. All of it on a plain two-layer network (a test runs this text)::

    import torch
    from torch import nn
    from torch.func import functional_call
    from metaalign_det.coordination import Lookahead, StageGroups, StageWeights
    from metaalign_det.loss_term import LossTerm

    sizes = {"body": (2, 8), "head": (8, 1), "critic": (8, 1)}
    net = nn.ModuleDict({name: nn.Linear(*size) for name, size in sizes.items()})
    source, target = torch.randn(64, 2), torch.randn(64, 2) + 1
    labels = (source[:, :1] > 0).float()
    bce = nn.functional.binary_cross_entropy_with_logits

    def run(name, params, x):
        own = {k: params[f"{name}.{k}"] for k in ("weight", "bias")}
        return functional_call(net[name], own, x)

    def task(params):
        return {"task": bce(run("head", params, run("body", params, source).tanh()), labels)}

    def alignment(params):
        s, t = (run("critic", params, run("body", params, x).tanh()) for x in (source, target))
        loss = bce(s, torch.zeros_like(s)) + bce(t, torch.ones_like(t))
        return {"critic": LossTerm(loss, weight=0.1, owner="critic")}

    params = dict(net.named_parameters())
    groups = StageGroups({"body": ["body.weight", "body.bias"]})
    beta = StageWeights(len(groups))
    lookahead = Lookahead(groups, order="exact")
    optimizer = torch.optim.SGD([*net.parameters(), *beta.parameters()], lr=0.1)
    for _ in range(100):
        step = lookahead(task, alignment, params, beta.values(), alpha=0.05)
        for name, p in params.items():
            p.grad = step.gradients[name]
        beta.set_gradient(step.beta_gradient)
        optimizer.step()
"""

from .extragradient import Extragradient
from .lookahead import DIRECTIONS, HVPS, INNERS, ORDERS, ROLES, Lookahead, look_ahead
from .objective import (
    Evaluation,
    Gradients,
    NonFiniteLossError,
    Objective,
    Part,
    check_finite,
    evaluate,
)
from .projection import Projection
from .reduce import FlatAllReduce, Reducer, keep_local
from .second_order import DoubleBackwardError
from .sharpness import SmoothTask
from .stages import StageGroups, StageWeights, is_under
from .stateless import RandomState, RandomStreams, call_at, frozen_batch_statistics
from .step import StepResult, UnreachedParameterError, all_finite, check_choice
from .weightings import WEIGHTINGS, Weighting

__all__ = [
    "DIRECTIONS",
    "HVPS",
    "INNERS",
    "ORDERS",
    "ROLES",
    "WEIGHTINGS",
    "DoubleBackwardError",
    "Evaluation",
    "Extragradient",
    "FlatAllReduce",
    "Gradients",
    "Lookahead",
    "NonFiniteLossError",
    "Objective",
    "Part",
    "Projection",
    "RandomState",
    "RandomStreams",
    "Reducer",
    "SmoothTask",
    "StageGroups",
    "StageWeights",
    "StepResult",
    "UnreachedParameterError",
    "Weighting",
    "all_finite",
    "call_at",
    "check_choice",
    "check_finite",
    "evaluate",
    "frozen_batch_statistics",
    "is_under",
    "keep_local",
    "look_ahead",
]
