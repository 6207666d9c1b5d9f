"""A teacher's labels in the source's proportions: the odds of its classes, corrected as it teaches.

A teacher that takes one class for another teaches it, and its student, the next teacher, takes it
more often still. Where the target's classes are as frequent as the source's, the shares of the
labels tell: each label of class c moves the log-odds b of all classes k by

    b_k <- b_k + rate * K * (pi_k - [k = c])

and the teacher's class logits become ``z_k + b_k``, the background's stays. At rest the labels'
shares are the source's pi. After each step b is projected onto ``sum_k b_k = 0, |b_k| <= limit``:
the geometric mean of the odds stays 1, so that classes gain on each other and not all of them on
the background, also where one class is never found. This is projected stochastic gradient descent
on the dual of "give labels in shares pi".

References:
    Berthelot et al., ReMixMatch, ICLR 2020, section 3.1 (distribution alignment).
    Tai et al., Sinkhorn Label Allocation, ICML 2021 (the dual, solved each step).
    Chen et al., Label Matching Semi-Supervised Object Detection, CVPR 2022 (thresholds by class,
    from the labelled images' shares).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from detectron2.utils import comm
from torch import Tensor

from ..errors import UserError


class ClassOdds:
    """Log-odds of K classes which keep the shares of a teacher's labels at the source's.

    Args:
        num_classes: K.
        rate: > 0; a label moves its own class's log-odds by about ``rate * K``, the others' by
            about ``rate``.
        limit: > 0, largest absolute log-odds.

    Raises:
        UserError: a rate that is not positive.
    """

    def __init__(self, num_classes: int, rate: float = 0.005, limit: float = 3.0) -> None:
        if not rate > 0:
            raise UserError(f"TEACHER.CLASS_ODDS.RATE must be > 0, got {rate}")
        self.rate = rate
        self.limit = limit
        self.log_odds = torch.zeros(num_classes)
        #: Labels of each class in the source images seen so far.
        self.source_counts = torch.zeros(num_classes, dtype=torch.float64)

    def see(self, images: Sequence[Mapping[str, Any]], labels: Sequence[Mapping[str, Any]]) -> None:
        """Take in a step: labelled source ``images`` and the teacher's ``labels`` of the target's.

        A class without any label in the source so far keeps its odds, and labels of it move none.

        Args:
            images, labels: dicts with ``instances`` (their ``gt_classes``) or ``label``; those
                without either count for nothing. Those of all processes are added up.
        """
        counts = torch.stack([self._count(images), self._count(labels)])
        if comm.get_world_size() > 1:
            counts = torch.stack(comm.all_gather(counts)).sum(0)
        self.source_counts += counts[0]
        shown = self.source_counts > 0
        given, shares = counts[1][shown], self.source_counts[shown] / self.source_counts.sum()
        if not given.any():
            return
        move = self.rate * len(self.log_odds) * (shares * given.sum() - given)
        moved = self.log_odds[shown].double() + move
        self.log_odds[shown] = _projected(moved, self.limit).to(self.log_odds)

    def _count(self, annotated: Iterable[Mapping[str, Any]]) -> Tensor:
        classes = [
            x["instances"].gt_classes.cpu() if "instances" in x else torch.tensor([x["label"]])
            for x in annotated
            if "instances" in x or "label" in x
        ]
        size = len(self.log_odds)
        if not classes:
            return torch.zeros(size, dtype=torch.float64)
        return torch.cat(classes).bincount(minlength=size).double()

    def metrics(self) -> dict[str, float]:
        """``teacher/least_odds`` and ``teacher/greatest_odds``, factors: 1 is no correction."""
        odds = self.log_odds.exp()
        return {
            "teacher/least_odds": odds.min().item(),
            "teacher/greatest_odds": odds.max().item(),
        }

    def state_dict(self) -> dict[str, Any]:
        return {"log_odds": self.log_odds.clone(), "source_counts": self.source_counts.clone()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.log_odds = state["log_odds"].cpu().clone()
        self.source_counts = state["source_counts"].cpu().clone()


def _projected(values: Tensor, limit: float) -> Tensor:
    """The nearest vector with sum 0 and entries in [-limit, limit], by bisection on the shift."""
    low, high = values.min() - limit, values.max() + limit
    for _ in range(60):
        shift = (low + high) / 2
        if (values - shift).clamp(-limit, limit).sum() > 0:
            low = shift
        else:
            high = shift
    return (values - (low + high) / 2).clamp(-limit, limit)
