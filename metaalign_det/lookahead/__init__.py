"""The lookahead: make two objectives agree. Imports torch only; can be used without Detectron2.

Example, the whole of it on a plain two-layer network::

    import torch
    from torch import nn
    from metaalign_det.lookahead import StageGroups, StageWeights, call_at, coordinated_step

    net = nn.ModuleDict(
        {"body": nn.Sequential(nn.Linear(4, 8), nn.Tanh()),
         "head": nn.Linear(8, 3),
         "critic": nn.Linear(8, 1)}
    )
    net.encode = lambda x: net["body"](x)
    ...

See ``tests/lookahead/test_example.py`` for the runnable form.
"""

from .objective import (
    Evaluation,
    NonFiniteLossError,
    Objective,
    WeightedLoss,
    check_finite,
    evaluate,
)
from .reduce import FlatAllReduce, keep_local
from .second_order import DoubleBackwardError
from .stages import StageGroups, StageWeights, is_under
from .stateless import RandomState, RandomStreams, call_at, frozen_batch_statistics
from .step import (
    HVPS,
    INNERS,
    ORDERS,
    ROLES,
    StepResult,
    UnreachedParameterError,
    check_choice,
    coordinated_step,
    look_ahead,
)

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
    "UnreachedParameterError",
    "WeightedLoss",
    "call_at",
    "check_choice",
    "check_finite",
    "coordinated_step",
    "evaluate",
    "frozen_batch_statistics",
    "is_under",
    "keep_local",
    "look_ahead",
]
