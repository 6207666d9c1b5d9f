"""The ensemble of a training's candidates, for validators that compare them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..errors import UserError


class Committee:
    """What all candidates so far say of the same N target images, for their ensemble.

    Holds their sum and, of each candidate, the predicted classes alone. One whose probabilities
    are not finite, because the training has diverged, has no vote and agrees with nobody.
    """

    def __init__(self) -> None:
        self._sum = self.newest = self.kept = torch.zeros(0, 0)
        self._classes: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self._classes)

    def add(self, iteration: int, probabilities: Tensor) -> None:
        """A new candidate's probabilities (Tensor): shape (N, K)."""
        if not self._classes:
            self._sum = torch.zeros_like(probabilities, dtype=torch.float64)
        elif self._sum.shape != probabilities.shape:
            raise UserError(
                "SELECTION: the target images are not those of the earlier candidates any more; "
                "SELECTION.IMAGES and the target cannot change while a run goes on"
            )
        classes = probabilities.argmax(dim=1).to(torch.int32)
        if torch.isfinite(probabilities).all():
            self._sum = self._sum + probabilities.double()
        else:
            classes = classes[:0]
        self._classes[iteration] = classes
        self.newest = probabilities.half()

    def keep(self, iteration: int | None) -> None:
        """Remember the newest candidate's probabilities if it is the one of ``iteration``."""
        if iteration == max(self._classes):
            self.kept = self.newest

    @property
    def mean(self) -> Tensor:
        """Shape (N, K); NaN before any has a vote."""
        return self._sum / sum(len(c) > 0 for c in self._classes.values())

    def agreement(self) -> dict[int, float]:
        """iteration -> share of images on which a candidate and the ensemble agree, or NaN."""
        ensemble = self._sum.argmax(dim=1)
        return {
            i: float((c == ensemble).double().mean()) if len(c) else math.nan
            for i, c in self._classes.items()
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "sum": self._sum,
            "classes": dict(self._classes),
            "newest": self.newest,
            "kept": self.kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._sum, self._classes = state["sum"], dict(state["classes"])
        self.newest, self.kept = state["newest"], state["kept"]
