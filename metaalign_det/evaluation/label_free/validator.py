"""What a validator is: a score of a candidate, computed without a target label."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import UserError
from .inputs import NEEDS, Inputs, are_finite, require


@dataclass(frozen=True)
class Validator:
    """A label-free score.

    Args:
        name: as the config knows it.
        task: "classification" or "detection".
        needs: fields of :class:`~.inputs.Inputs` that ``function`` reads, and "features" if it
            reads those of ``target`` or ``source``. Beside "ensemble" only "target": of earlier
            candidates, which are scored anew as it grows, nothing else is kept.
        higher_is_better: the direction of the score.
        function: the score of a candidate; NaN where it has none, which is never chosen.
        paper: where it comes from.
    """

    name: str
    task: str
    needs: tuple[str, ...]
    higher_is_better: bool
    function: Callable[[Inputs], float]
    paper: str

    def __post_init__(self) -> None:
        if unknown := set(self.needs) - set(NEEDS):
            raise ValueError(f"{self.name} needs {unknown}, which is no input")
        if "ensemble" in self.needs and (others := set(self.needs) - {"target", "ensemble"}):
            raise ValueError(
                f"{self.name} needs {', '.join(sorted(others))} beside 'ensemble': of the "
                "candidates that are compared, only 'target' is kept"
            )

    def __call__(self, inputs: Inputs) -> float:
        """The score; NaN for a model whose probabilities are not finite.

        Raises:
            UserError: an input is missing.
        """
        require(inputs, *self.needs)
        if not are_finite(inputs, *self.needs):
            return math.nan  # argmax would take NaN for an answer, and all of them agree
        return float(self.function(inputs))

    def goodness(self, score: float) -> float:
        """The score with the sign that makes higher better."""
        return score if self.higher_is_better else -score


def check_task(validator: Validator, task: str) -> None:
    """
    Raises:
        UserError: the validator is for the other kind of model.
    """
    if validator.task != task:
        raise UserError(
            f"SELECTION: the validator {validator.name!r} is for {validator.task}, the model does "
            f"{task}"
        )
