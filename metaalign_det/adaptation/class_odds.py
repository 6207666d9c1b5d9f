"""A teacher's labels in the source's proportions: the odds of its classes, corrected as it teaches.

A teacher that takes one class for another teaches it, and its student, the next teacher, takes it
more often still. Where the target's classes are as frequent as the source's, the shares of the
labels tell: each label of class c moves the log-odds b of all classes k by

    b_k <- b_k + rate * K * (pi_k - [k = c])

and the teacher's class logits become ``z_k + b_k``, the background's stays. In equilibrium the
labels' shares are the source's pi; the steps add up to zero, so that the geometric mean of the odds
stays 1: rare classes pass the threshold more easily, frequent ones less. It is stochastic gradient
descent on the dual of "give labels in shares pi".

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
        rate: > 0, by which a label moves them, per class; half-way to equilibrium takes about
            ``1 / rate`` labels.
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

        Args:
            images, labels: dicts with ``instances`` (their ``gt_classes``) or ``label``; those
                without either count for nothing. Those of all processes are added up.
        """
        counts = torch.stack([self._count(images), self._count(labels)])
        if comm.get_world_size() > 1:
            counts = torch.stack(comm.all_gather(counts)).sum(0)
        self.source_counts += counts[0]
        seen = self.source_counts.sum()
        if seen == 0:
            return
        given, shares = counts[1], self.source_counts / seen
        # A class without any label in the source so far is left alone.
        move = self.rate * len(given) * (shares * given.sum() - given)
        self.log_odds += move.to(self.log_odds).masked_fill(shares == 0, 0.0)
        self.log_odds.clamp_(-self.limit, self.limit)

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

    def state_dict(self) -> dict[str, Any]:
        return {"log_odds": self.log_odds, "source_counts": self.source_counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.log_odds = state["log_odds"].cpu().clone()
        self.source_counts = state["source_counts"].cpu().clone()
