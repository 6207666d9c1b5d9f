"""The ensemble of a training's candidates, for validators that compare them."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import UserError
from ..evaluation.label_free import Inputs, Predictions, Validator


class Committee:
    """What all candidates so far say of the same N target images, for their ensemble.

    One whose probabilities are not finite, because the training has diverged, has no vote and no
    score.

    Args:
        classes_alone: remember the predicted classes of each candidate, not its probabilities:
            all that EnsV reads, and a small part of what every checkpoint would else hold.
    """

    def __init__(self, classes_alone: bool = True) -> None:
        self._classes_alone = classes_alone
        self._sum = self.newest = self.kept = torch.zeros(0, 0)
        self._said: dict[int, Tensor] = {}  # shape (N, K), or (N,) for classes; (0,) without a vote

    def __len__(self) -> int:
        return len(self._said)

    def add(self, iteration: int, probabilities: Tensor) -> None:
        """A new candidate's probabilities (Tensor): shape (N, K)."""
        if not self._said:
            self._sum = torch.zeros_like(probabilities, dtype=torch.float64)
        elif self._sum.shape != probabilities.shape:
            raise UserError(
                "SELECTION: the target images are not those of the earlier candidates any more; "
                "SELECTION.IMAGES and the target cannot change while a run goes on"
            )
        classes = probabilities.argmax(dim=1).to(torch.int32)
        said = classes if self._classes_alone else probabilities
        if torch.isfinite(probabilities).all():
            self._sum = self._sum + probabilities.double()
        else:
            said = classes[:0]
        self._said[iteration] = said
        self.newest = probabilities.half()

    def keep(self, iteration: int | None) -> None:
        """Remember the newest candidate's probabilities if it is the one of ``iteration``."""
        if iteration == max(self._said):
            self.kept = self.newest

    @property
    def mean(self) -> Tensor:
        """Shape (N, K); NaN before any has a vote."""
        return self._sum / sum(len(x) > 0 for x in self._said.values())

    def scores(self, validator: Validator) -> dict[int, float]:
        """iteration -> score of that candidate under the ensemble of all so far, or NaN.

        Args:
            validator: one that compares candidates, which needs the target and the ensemble.
        """
        ensemble = self.mean
        return {
            i: validator(Inputs(target=self._predictions(x), ensemble=ensemble))
            if len(x)
            else math.nan
            for i, x in self._said.items()
        }

    def _predictions(self, said: Tensor) -> Predictions:
        """Of classes, probabilities (N, K) that are 1 for them."""
        if said.dim() == 1:
            said = F.one_hot(said.long(), self._sum.shape[1]).float()
        return Predictions(said)

    def state_dict(self) -> dict[str, Any]:
        return {
            "sum": self._sum,
            "said": dict(self._said),
            "newest": self.newest,
            "kept": self.kept,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        # "classes" in checkpoints of versions that kept nothing else.
        self._sum, self._said = state["sum"], dict(state.get("said") or state.get("classes", {}))
        self.newest, self.kept = state["newest"], state["kept"]
