"""The ensemble of a training's candidates, for validators that compare them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..errors import UserError


class Committee:
    """What all candidates so far say of the same N target images, for their ensemble.

    Holds their sum and, of each candidate, the predicted classes alone.
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
        self._sum = self._sum + probabilities.double()
        self._classes[iteration] = probabilities.argmax(dim=1).to(torch.int32)
        self.newest = probabilities.half()

    def keep(self, iteration: int | None) -> None:
        """Remember the newest candidate's probabilities if it is the one of ``iteration``."""
        if iteration == max(self._classes):
            self.kept = self.newest

    @property
    def mean(self) -> Tensor:
        """Shape (N, K)."""
        return self._sum / len(self._classes)

    def agreement(self) -> dict[int, float]:
        """iteration -> share of images on which a candidate and the ensemble agree."""
        ensemble = self._sum.argmax(dim=1)
        return {i: float((c == ensemble).double().mean()) for i, c in self._classes.items()}

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
