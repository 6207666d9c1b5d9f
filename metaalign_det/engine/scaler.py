"""Dynamic loss scaling for float16."""

from __future__ import annotations


class LossScaler:
    """The scale that losses are multiplied by before half-precision differentiation.

    ``torch.amp.GradScaler`` unscales ``p.grad`` just before the optimiser's step. A lookahead
    has to unscale the inner gradient earlier, before theta' is formed, so the gradients unscale
    themselves here and this class only keeps the number, by the same rule: halve it when a
    gradient overflowed, double it after ``growth_interval`` good steps.

    Args:
        scale: where to start.
        growth_interval: steps without overflow before the scale doubles.
    """

    def __init__(self, scale: float = 2.0**16, growth_interval: int = 2000) -> None:
        self.scale = float(scale)
        self.growth_interval = growth_interval
        self.good_steps = 0

    def update(self, finite: bool) -> None:
        """Say whether the step's gradients were finite."""
        if not finite:
            self.scale = max(self.scale / 2, 1.0)
            self.good_steps = 0
            return
        self.good_steps += 1
        if self.good_steps == self.growth_interval:
            self.scale *= 2
            self.good_steps = 0

    def state_dict(self) -> dict:
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state_dict: dict) -> None:
        self.scale = state_dict["scale"]
        self.good_steps = state_dict["good_steps"]
