"""The lookahead: make two objectives agree. Imports torch only; can be used without Detectron2.

Two objectives are functions of named parameters to named losses, :func:`coordinated_step` returns
the gradients of MetaAlign's update, first order or exact, and the caller applies them; formulas
are in :mod:`.step`. The whole of it on a plain two-layer network (a test runs this text)::

    import torch
    from torch import nn
    from torch.func import functional_call
    from metaalign_det.coordination import StageGroups, StageWeights, Term, coordinated_step

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
        return {"critic": Term(loss, weight=0.1, adversarial=True, owner="critic")}

    params = dict(net.named_parameters())
    groups = StageGroups({"body": ["body.weight", "body.bias"]})
    beta = StageWeights(len(groups))
    optimizer = torch.optim.SGD([*net.parameters(), *beta.parameters()], lr=0.1)
    for _ in range(100):
        step = coordinated_step(
            task, alignment, params, groups, beta.values(), alpha=0.05, order="exact"
        )
        for name, p in params.items():
            p.grad = step.gradients[name]
        beta.set_gradient(step.beta_gradient)
        optimizer.step()
"""

from .lookahead import (
    HVPS,
    INNERS,
    ORDERS,
    ROLES,
    StepResult,
    UnreachedParameterError,
    all_finite,
    check_choice,
    coordinated_step,
    look_ahead,
)
from .objective import (
    Evaluation,
    NonFiniteLossError,
    Objective,
    Term,
    WeightedLoss,
    check_finite,
    evaluate,
)
from .reduce import FlatAllReduce, keep_local
from .second_order import DoubleBackwardError
from .stages import StageGroups, StageWeights, is_under
from .stateless import RandomState, RandomStreams, call_at, frozen_batch_statistics

__all__ = [
    "HVPS",
    "INNERS",
    "ORDERS",
    "ROLES",
    "DoubleBackwardError",
    "Evaluation",
    "FlatAllReduce",
    "NonFiniteLossError",
    "Objective",
    "RandomState",
    "RandomStreams",
    "StageGroups",
    "StageWeights",
    "StepResult",
    "Term",
    "UnreachedParameterError",
    "WeightedLoss",
    "call_at",
    "all_finite",
    "check_choice",
    "check_finite",
    "coordinated_step",
    "evaluate",
    "frozen_batch_statistics",
    "is_under",
    "keep_local",
    "look_ahead",
]
