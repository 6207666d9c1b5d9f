"""A classifier that adapts: Detectron2 backbone, bottleneck, classifier, alignment method.

Shape shorthand: N images, C features, K classes, D domains.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone import Backbone
from detectron2.utils.events import get_event_storage, has_event_storage
from torch import Tensor, nn

from ...adaptation.contract import AdaptableModel
from ...alignment.base import AlignmentMethod, check_terms
from ...alignment.domain_losses import domain_accuracy
from ...alignment.linear import kaiming_linear
from ...alignment.task_oriented import task_oriented_features
from ...errors import UserError
from ...loss_term import LossTerm, joint_losses
from ..alignment_config import AlignmentWeight, alignment_from_config
from ..stages import backbone_stages
from ..storage import put_scalar

#: What is told apart by :class:`DomainAdaptiveClassifier`, the values of MODEL.ALIGN.BETWEEN.
BETWEEN = ("target", "domains", "sources")


@META_ARCH_REGISTRY.register()
class DomainAdaptiveClassifier(AdaptableModel):
    """Image classification on labelled sources and an unlabelled target, or sources alone.

    features f = bottleneck(average pool(backbone(image))), logits = classifier(f), which the
    alignment method may adjust (GVB's bridge). Source and target pass the backbone one after the
    other, so that BatchNorm in training mode normalises each domain by its own statistics.

    What is aligned (``between``):

    - "target": all sources, as one domain, against the target;
    - "domains": every source domain and the target against each other;
    - "sources": the source domains against each other; target images are not used (domain
      generalisation).
    """

    alignment_separable = False

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        in_feature: str,
        num_classes: int,
        bottleneck: int = 0,
        label_smoothing: float = 0.0,
        alignment: AlignmentMethod | None = None,
        alignment_weight: AlignmentWeight | None = None,
        between: str = "target",
        task_oriented: bool = False,
        num_sources: int = 1,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        input_format: str | None = None,
    ) -> None:
        """
        Args:
            backbone: any Detectron2 backbone.
            in_feature: its output that is average-pooled.
            num_classes: K.
            bottleneck: width C of a linear layer between pooling and classifier; 0 = none.
            label_smoothing: epsilon in [0, 1).
            alignment: built for C, K and the number of domains; None = train the task alone.
            alignment_weight: lambda over training; None = always 1.
            between: see the class.
            task_oriented: align :func:`.task_oriented.task_oriented_features` of the source
                (ToAlign), and the logits of these, in the place of its features.
            num_sources: number of source domains.
            pixel_mean, pixel_std: one number a channel, in the units of the image (0-255).
            input_format: order of the channels, "RGB" for torchvision weights and "BGR" for
                Detectron2's ``.pkl``; kept for whoever draws or checks.
        """
        super().__init__()
        if between not in BETWEEN:
            raise UserError(f"MODEL.ALIGN.BETWEEN: {between!r} is none of {', '.join(BETWEEN)}")
        if in_feature not in backbone.output_shape():
            raise UserError(
                f"MODEL.CLASSIFIER.IN_FEATURE: the backbone has no output {in_feature!r}, only "
                f"{', '.join(backbone.output_shape())}; see the OUT_FEATURES key of your backbone"
            )
        self.backbone = backbone
        self.in_feature = in_feature
        self.num_classes = num_classes
        width = backbone.output_shape()[in_feature].channels
        self.bottleneck = kaiming_linear(width, bottleneck) if bottleneck else nn.Identity()
        self.classifier = kaiming_linear(bottleneck or width, num_classes)
        self.label_smoothing = label_smoothing
        self.alignment = alignment
        self.alignment_weight = alignment_weight or AlignmentWeight()
        self.between = between
        self.task_oriented = task_oriented
        self.num_sources = num_sources
        self.input_format = input_format
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        backbone = build_backbone(cfg)
        node = cfg.MODEL.CLASSIFIER
        if node.NUM_CLASSES < 2:
            raise UserError(f"MODEL.CLASSIFIER.NUM_CLASSES must be >= 2, got {node.NUM_CLASSES}")
        if not 0 <= node.LABEL_SMOOTHING < 1:
            raise UserError(
                f"MODEL.CLASSIFIER.LABEL_SMOOTHING must be in [0, 1), got {node.LABEL_SMOOTHING}"
            )
        shape = backbone.output_shape().get(node.IN_FEATURE)
        in_features = node.BOTTLENECK or (shape.channels if shape else 0)
        num_sources = max(cfg.DATASETS.TRAIN_DOMAINS, default=0) + 1
        return {
            "backbone": backbone,
            "in_feature": node.IN_FEATURE,
            "num_classes": node.NUM_CLASSES,
            "bottleneck": node.BOTTLENECK,
            "label_smoothing": node.LABEL_SMOOTHING,
            "alignment": alignment_from_config(cfg, in_features, num_sources),
            "alignment_weight": AlignmentWeight.from_config(cfg),
            "between": cfg.MODEL.ALIGN.BETWEEN,
            "task_oriented": cfg.MODEL.ALIGN.TASK_ORIENTED,
            "num_sources": num_sources,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
        }

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return self.pixel_mean.device

    # ---- the contract -----------------------------------------------------------------------

    def task_losses(self, source: list[dict]) -> dict[str, Tensor]:
        """``loss_cls``: cross-entropy, with label smoothing if asked for.

        Args:
            source: dicts with ``image`` (C, H, W) and ``label`` (int, 0 to K - 1).
        """
        return self._cross_entropy(source, self._predict(source, "source")[1])

    def alignment_terms(self, source: list[dict], target: list[dict]) -> dict[str, LossTerm]:
        """The terms of the alignment method; {} without one.

        Args:
            source: dicts with ``image`` and ``domain``; ``label`` if ``task_oriented``.
            target: dicts with ``image``; may be empty if sources are aligned among themselves.
        """
        if self.alignment is None:
            return {}
        return self._terms(source, target, self._predict(source, "source"), reverse=False)

    @property
    def aligns(self) -> bool:
        return self.alignment is not None

    def backbone_stages(self) -> dict[str, tuple[str, ...]]:
        return backbone_stages(self.backbone)

    @property
    def alignment_needs_target(self) -> bool:  # type: ignore[override]
        return self.between != "sources"

    def discriminator_prefixes(self) -> tuple[str, ...]:
        if self.alignment is None:
            return ()
        return tuple(f"alignment.{name}" for name in self.alignment.discriminators)

    # ---- what a teacher needs -----------------------------------------------------------------

    def pseudo_labels(
        self, images: list[dict], threshold: float, log_odds: Tensor | None = None
    ) -> list[dict]:
        logits = self._predict(images)[1].float()
        if log_odds is not None:
            logits = logits + log_odds.to(logits)
        scores, labels = logits.softmax(dim=1).max(dim=1)
        return [
            {"label": int(label)} if score >= threshold else {}
            for score, label in zip(scores.tolist(), labels.tolist())
        ]

    def soft_targets(self, images: list[dict]) -> Tensor:
        """Class probabilities, shape (N, K)."""
        return F.softmax(self._predict(images)[1].float(), dim=1)

    def distillation_losses(
        self,
        images: list[dict],
        teacher: DomainAdaptiveClassifier,
        targets: Tensor,
        threshold: float,
    ) -> dict[str, Tensor]:
        """``loss_cls``: cross-entropy against the teacher's probabilities where it is sure."""
        logits = self._predict(images, "target")[1]
        losses = -(targets * logits.float().log_softmax(dim=1)).sum(dim=1)
        return {"loss_cls": (losses * (targets.amax(dim=1) >= threshold)).mean()}

    # ---- as a Detectron2 model --------------------------------------------------------------

    def forward(self, batch: dict[str, list[dict]] | list[dict]) -> dict[str, Tensor] | list[dict]:
        """
        Args:
            batch: in training ``{"source": [...], "target": [...]}``, or a plain list of labelled
                images, which trains the task alone. In evaluation a list of inputs.

        Returns:
            dict[str, Tensor]: in training, losses to be added. Otherwise, for each input
            ``{"scores": (K,) probabilities, "logits": (K,)}``.
        """
        if not self.training:
            return self.inference(batch)  # type: ignore[arg-type]
        if not isinstance(batch, dict):
            return self.task_losses(batch)
        source, target = batch["source"], batch.get("target", [])
        predicted = self._predict(source, "source")
        losses = self._cross_entropy(source, predicted[1])
        if self.alignment is not None:
            losses.update(joint_losses(self._terms(source, target, predicted, reverse=True)))
        return losses

    def inference(self, inputs: list[dict]) -> list[dict[str, Tensor]]:
        """Scores of each image; images of different sizes run one by one, free of padding."""
        if len({x["image"].shape for x in inputs}) > 1:
            return [result for x in inputs for result in self.inference([x])]
        logits = self._predict(inputs)[1]
        scores = F.softmax(logits.float(), dim=1)
        return [{"scores": s, "logits": z} for s, z in zip(scores, logits)]

    # ---- parts ------------------------------------------------------------------------------

    def backbone_features(self, images: list[dict]) -> dict[str, Tensor]:
        shapes = {tuple(x["image"].shape) for x in images}
        if len(shapes) > 1:
            raise UserError(
                f"the images of a training batch have different sizes, {sorted(shapes)}: set "
                "INPUT.CLASSIFICATION.CROP or INPUT.CLASSIFICATION.RESIZE"
            )
        pixels = torch.stack([x["image"].to(self.device) for x in images])
        return self.backbone((pixels - self.pixel_mean) / self.pixel_std)

    def _predict(self, inputs: list[dict], domain: str = "") -> tuple[Tensor, Tensor]:
        """Features (N, C) and logits (N, K) of the images, of a domain in training."""
        with self.backbone_pass(domain) if domain else nullcontext():
            pooled = self.backbone_features(inputs)[self.in_feature]
        features = self.bottleneck(pooled.mean(dim=(2, 3)))
        return features, self._logits(features)

    def _logits(self, features: Tensor) -> Tensor:
        logits = self.classifier(features)
        return logits if self.alignment is None else self.alignment.predict(features, logits)

    def _cross_entropy(self, source: list[dict], logits: Tensor) -> dict[str, Tensor]:
        target = self._labels(source)
        loss = F.cross_entropy(logits, target, label_smoothing=self.label_smoothing)
        return {"loss_cls": loss}

    def _labels(self, source: list[dict]) -> Tensor:
        labels = [int(x["label"]) for x in source]
        wrong = [x for x in labels if not 0 <= x < self.num_classes]
        if wrong:
            raise UserError(
                f"label {wrong[0]} in the source data, but MODEL.CLASSIFIER.NUM_CLASSES is "
                f"{self.num_classes}: set it to the number of classes of the data"
            )
        return torch.tensor(labels, device=self.device)

    def _terms(
        self,
        source: list[dict],
        target: list[dict],
        of_source: tuple[Tensor, Tensor],
        *,
        reverse: bool,
    ) -> dict[str, LossTerm]:
        domains = self._source_domains(source)
        features, logits = of_source
        if self.task_oriented:
            features = task_oriented_features(features, self._labels(source), self._logits)
            logits = self._logits(features)
        if self.between != "sources":
            if not target:
                raise UserError(
                    f"MODEL.ALIGN.BETWEEN {self.between!r} aligns with the target, but the batch "
                    "has no target images: name a data set in DATASETS.TARGET, or align 'sources'"
                )
            of_target = self._predict(target, "target")
            features = torch.cat([features, of_target[0]])
            logits = torch.cat([logits, of_target[1]])
            last = 1 if self.between == "target" else self.num_sources
            domains = domains + [last] * len(target)
        with self.stream("alignment"):
            terms = self.alignment(
                features,
                logits,
                torch.tensor(domains, device=features.device),
                weight=self._weight(),
                reverse=reverse,
                observe=self._record_accuracy,
            )
        check_terms(self.alignment, terms, features)
        return {name: term.under("alignment") for name, term in terms.items()}

    def _source_domains(self, source: list[dict]) -> list[int]:
        if self.between == "target":
            return [0] * len(source)
        domains = [int(x["domain"]) for x in source]
        if not all(0 <= d < self.num_sources for d in domains):
            raise UserError(
                f"source images of domains {sorted(set(domains))}, but DATASETS.TRAIN_DOMAINS "
                f"names {self.num_sources}"
            )
        return domains

    def _weight(self) -> float:
        """lambda now; outside of a training loop, where nothing counts, that of its end."""
        storage_open = has_event_storage()
        end = self.alignment_weight.start + self.alignment_weight.steps
        return self.alignment_weight.at(get_event_storage().iter if storage_open else end)

    def _record_accuracy(self, logits: Tensor, domains: Tensor) -> None:
        for d in domains.unique().tolist():
            named = self.between == "target"
            name = ("source", "target")[d] if named else f"domain{d}"
            of = domains == d
            put_scalar(
                f"da/acc_{name}",
                lambda of=of, d=d: domain_accuracy(logits[of], d),  # type: ignore[misc]
            )
