"""Adaptable models small enough that what they attend to, and their gradients, are known."""

from __future__ import annotations

import torch
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from metaalign_det.adaptation.contract import AdaptableModel
from metaalign_det.loss_term import LossTerm
from metaalign_det.modeling import SWDARCNN, DomainAdaptiveClassifier


class HalfReader(AdaptableModel):
    """A classifier of the right half of its image, with a discriminator of the left half."""

    alignment_separable = True

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Conv2d(3, 4, 1)
        self.classifier = nn.Linear(4, 3)
        self.critic = nn.Linear(4, 1)
        self.in_feature = ""

    @property
    def aligns(self) -> bool:
        return True

    def backbone_stages(self):
        return {"backbone": ("backbone",)}

    def _pooled(self, images, half):
        maps = self.backbone(torch.stack([x["image"] for x in images]))
        width = maps.shape[-1] // 2
        return (maps[..., width:] if half == "right" else maps[..., :width]).mean(dim=(2, 3))

    def inference(self, inputs):
        return [{"logits": z} for z in self.classifier(self._pooled(inputs, "right"))]

    def alignment_terms(self, source, target):
        losses = []
        for sign, images in ((1, source), (-1, target)):
            if images:
                logits = sign * self.critic(self._pooled(images, "left"))
                losses.append(nn.functional.softplus(logits).mean())
        return {"loss_left": LossTerm(sum(losses), owner="critic")}


class Quadratic(AdaptableModel):
    """Both objectives are quadratic in one vector theta, so that every derivative is known.

    L_task = theta' P theta / 2, A = (theta - c)' Q (theta - c) / 2; the batch scales both.
    """

    def __init__(self, p: torch.Tensor, q: torch.Tensor, c: torch.Tensor, theta: torch.Tensor):
        super().__init__()
        self.p, self.q, self.c = p, q, c
        self.backbone = nn.ParameterDict({"theta": nn.Parameter(theta)})

    @property
    def aligns(self) -> bool:
        return True

    def backbone_stages(self):
        return {"all": ("backbone.theta",)}

    def task_losses(self, source):
        theta = self.backbone["theta"]
        return {"loss": source[0]["scale"] * theta @ self.p @ theta / 2}

    def alignment_terms(self, source, target):
        moved = self.backbone["theta"] - self.c
        loss = source[0]["scale"] * moved @ self.q @ moved / 2
        return {"loss_distance": LossTerm(loss)}


class Watched(Quadratic):
    """The quadratics that keep what they are given."""

    def __init__(self, *args):
        super().__init__(*args)
        self.seen = []

    def task_losses(self, source):
        self.seen.append(source)
        return super().task_losses(source)

    def alignment_terms(self, source, target):
        self.seen.append((source, target))
        return super().alignment_terms(source, target)


class OwnClassifier(DomainAdaptiveClassifier):
    """A subclass under a name of its own."""


class OwnDetector(SWDARCNN):
    """A subclass under a name of its own."""


class FromScratch(AdaptableModel):
    """What it does is not told by its class."""


def register_own(monkeypatch):
    """The meta-architectures above, as a plug-in registers them."""
    for model in (OwnClassifier, OwnDetector, FromScratch):
        monkeypatch.setitem(META_ARCH_REGISTRY._obj_map, model.__name__, model)
