"""Agreement with what all candidates say together."""

from __future__ import annotations

from torch import Tensor

from .inputs import Inputs
from .validator import Validator


def ensemble_agreement(inputs: Inputs) -> Tensor:
    """Share of images on which argmax p_i equals argmax of the candidates' mean, (1/M) sum_m p_i^m.

    The candidate that agrees most with the ensemble of all M candidates is chosen. Scores compare
    only under the same ensemble: when a candidate is added, all are scored anew.

    Note:
        The paper's candidates are trainings with different settings. Of the checkpoints of one
        training that improves steadily, the one in the middle agrees most.
    """
    own = inputs.target.probabilities.argmax(dim=1)
    return (own == inputs.ensemble.argmax(dim=1)).double().mean()


ENSV = Validator(
    "ensv",
    "classification",
    ("target", "ensemble"),
    True,
    ensemble_agreement,
    "Hu et al., Towards Reliable Model Selection for Unsupervised Domain Adaptation: An Empirical "
    "Study and A Certified Baseline, NeurIPS 2024",
)
