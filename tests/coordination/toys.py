"""Small smooth networks in float64 for the identities of the lookahead."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from metaalign_det.coordination import Lookahead, StageGroups, StepResult, call_at
from metaalign_det.loss_term import LossTerm


class ToyModel(nn.Module):
    """Two stages, a head, two critics with different weights, and an explicit distance."""

    def __init__(self, lambdas=(0.7, 0.3), distance=0.5, smooth=True) -> None:
        super().__init__()
        act = nn.Tanh() if smooth else nn.ReLU()
        self.stage1 = nn.Sequential(nn.Linear(4, 6), act)
        self.stage2 = nn.Sequential(nn.Linear(6, 5), act)
        self.head = nn.Linear(5, 3)
        self.critics = nn.ModuleDict({"near": nn.Linear(6, 1), "far": nn.Linear(5, 1)})
        self.lambdas, self.distance = lambdas, distance
        self.double()

    def features(self, x):
        f1 = self.stage1(x)
        return f1, self.stage2(f1)

    def task_losses(self, x, y):
        return {"loss_cls": nn.functional.cross_entropy(self.head(self.features(x)[1]), y)}

    def alignment_terms(self, source, target):
        near_s, far_s = self.features(source)
        near_t, far_t = self.features(target)
        terms = {}
        for (name, weight), (s, t) in zip(
            zip(("near", "far"), self.lambdas), ((near_s, near_t), (far_s, far_t))
        ):
            if weight == 0:
                s, t = s.detach(), t.detach()
            critic = self.critics[name]
            loss = (critic(s).sigmoid() ** 2).mean() + ((1 - critic(t).sigmoid()) ** 2).mean()
            terms[f"loss_{name}"] = LossTerm(loss, weight, owner=f"critics.{name}")
        if self.distance:
            gap = (far_s.mean(0) - far_t.mean(0)).square().sum()
            gap = gap + (self.head(far_s).mean(0) - self.head(far_t).mean(0)).square().sum()
            terms["loss_gap"] = LossTerm(gap, self.distance)
        return terms


def toy(seed=0, **kwargs) -> SimpleNamespace:
    """A model, a batch, both objectives, and stage groups over its two stages."""
    torch.manual_seed(seed)
    model = ToyModel(**kwargs)
    x, y = torch.randn(7, 4).double(), torch.randint(3, (7,))
    target = torch.randn(6, 4).double() * 1.5 + 0.5
    params = dict(model.named_parameters())
    return SimpleNamespace(
        model=model,
        x=x,
        y=y,
        target=target,
        params=params,
        task=lambda p: call_at(model, p, "task_losses", x, y),
        alignment=lambda p: call_at(model, p, "alignment_terms", x, target),
        groups=StageGroups.from_prefixes({"one": ["stage1"], "two": ["stage2"]}, params),
    )


def alignment_value(terms) -> torch.Tensor:
    """A of docs/method.md, the scalar that the minimising player descends."""
    return sum((-t.weight if t.adversarial else t.weight) * t.loss for t in terms.values())


def relative_error(a, b) -> float:
    return ((a - b).norm() / b.norm().clamp_min(1e-300)).item()


def coordinated_step(task, alignment, params, groups, beta, alpha, **options) -> StepResult:
    """One step of a lookahead that is built for it."""
    built = {f.name for f in dataclasses.fields(Lookahead)} & options.keys()
    lookahead = Lookahead(groups, **{k: options.pop(k) for k in built})
    return lookahead(task, alignment, params, beta, alpha, **options)


def needs_torchjd(name):
    """Skip a test of a coordinator whose package is not here."""
    if name in ("mgda", "cagrad", "upgrad"):
        pytest.importorskip("torchjd")
