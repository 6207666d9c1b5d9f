"""Mixed precision: its type, and dynamic loss scaling for float16."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode

from ..errors import UserError

_TYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16}
_SMALLEST = 1.0  # scale, which is none
_PATIENCE = 20  # steps in a row that may overflow without scale


class LossScaler:
    """The scale that losses are multiplied by before half-precision differentiation.

    ``torch.amp.GradScaler`` unscales ``p.grad`` just before the optimiser's step. A lookahead
    has to unscale the inner gradient earlier, before theta' is formed, so the gradients unscale
    themselves here and this class only keeps the number, by the same rule: halve it when a
    gradient overflowed, double it after ``growth_interval`` good steps.

    Args:
        scale: where to start.
        growth_interval: steps without overflow before the scale doubles.

    Attributes:
        skipped: steps whose gradients overflowed, since the start of the training.
    """

    def __init__(self, scale: float = 2.0**16, growth_interval: int = 2000) -> None:
        self.scale = float(scale)
        self.growth_interval = growth_interval
        self.good_steps = 0
        self.skipped = 0
        self._hopeless = 0

    @property
    def stuck(self) -> bool:
        """Whether gradients kept overflowing without scale, so that no step will ever be taken."""
        return self._hopeless >= _PATIENCE

    def update(self, finite: bool) -> None:
        """Say whether the step's gradients were finite."""
        if not finite:
            self.skipped += 1
            self._hopeless = self._hopeless + 1 if self.scale <= _SMALLEST else 0
            self.scale = max(self.scale / 2, _SMALLEST)
            self.good_steps = 0
            return
        self._hopeless = 0
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.scale *= 2
            self.good_steps = 0

    def state_dict(self) -> dict:
        return {"scale": self.scale, "good_steps": self.good_steps, "skipped": self.skipped}

    def load_state_dict(self, state_dict: dict) -> None:
        self.scale = state_dict["scale"]
        self.good_steps = state_dict["good_steps"]
        self.skipped = state_dict.get("skipped", 0)  # earlier versions did not count them


def mixed_precision(cfg: CfgNode) -> torch.dtype | None:
    """The type that ``SOLVER.AMP`` asks for; None where it is off.

    Raises:
        UserError: ``SOLVER.AMP.DTYPE`` is none of the two.
    """
    if not cfg.SOLVER.AMP.ENABLED:
        return None
    if cfg.SOLVER.AMP.DTYPE not in _TYPES:
        raise UserError(
            f"SOLVER.AMP.DTYPE: {cfg.SOLVER.AMP.DTYPE!r} is neither float16 nor bfloat16"
        )
    return _TYPES[cfg.SOLVER.AMP.DTYPE]
