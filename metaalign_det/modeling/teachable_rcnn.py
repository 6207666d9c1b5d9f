"""Faster R-CNN as teacher and as student: pseudo-labels, soft targets, distillation."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor

from .distillation import (
    SoftTargets,
    check_heads,
    hard_labels,
    region_distillation,
    region_predictions,
    rpn_distillation,
    rpn_outputs,
    shifted_classes,
)

#: Numbers of the domains of a detector.
SOURCE, TARGET = 0, 1

#: A mixin's base: to a type checker, whatever it is mixed into.
_Host: Any = object


class TeachableRCNN(_Host):
    """The teacher's part of :class:`AdaptableModel`, for a ``GeneralizedRCNN``; a mixin.

    It needs ``_extract`` and ``_context`` of the class that it is mixed into.
    """

    def pseudo_labels(
        self, images: list[dict], threshold: float, log_odds: Tensor | None = None
    ) -> list[dict]:
        with shifted_classes(self.roi_heads.box_predictor, log_odds):
            labels = hard_labels(self.inference(images, do_postprocess=False), threshold)
        return [{"instances": x} if len(x) else {} for x in labels]

    def check_distillation(self) -> None:
        check_heads(self.roi_heads)

    def soft_targets(self, images: list[dict]) -> SoftTargets:
        batch, features = self._extract(images)
        context = self._context(batch, features) if self.context_from else None
        _, objectness, deltas = rpn_outputs(self.proposal_generator, features)
        return SoftTargets(features, context, objectness, deltas)

    def distillation_losses(
        self, images: list[dict], teacher: Any, targets: SoftTargets, threshold: float
    ) -> dict[str, Tensor]:
        """``loss_rpn_cls``, ``loss_rpn_loc``, ``loss_cls``, ``loss_box_reg``: see distillation."""
        batch, features = self._extract(images, TARGET)
        if not torch.is_autocast_enabled(batch.tensor.device.type):
            # Exact mode keeps the student in full precision, and the teacher has been run before.
            targets = targets.in_full_precision()
        predictor = self.roi_heads.box_predictor
        with self.stream("task"), self._sampling_from(batch):
            anchors, logits, deltas = rpn_outputs(self.proposal_generator, features)
            with torch.no_grad():
                labels = teacher.detections_of(targets, batch, threshold)
            losses = rpn_distillation(
                self.proposal_generator, (anchors, logits, deltas), targets, labels
            )
            proposals = self._proposals(anchors, logits, deltas, batch)
            sampled = self.roi_heads.label_and_sample_proposals(proposals, labels)
            boxes = [x.proposal_boxes for x in sampled]
            # Like all that draws random numbers (a discriminator's dropout) inside of the stream.
            context = self._context(batch, features) if self.context_from else None
            student = region_predictions(self.roi_heads, features, boxes, context)
            with torch.no_grad():
                taught = region_predictions(
                    teacher.roi_heads, targets.features, boxes, targets.context
                )
        losses.update(
            region_distillation(
                student,
                taught,
                torch.cat([x.gt_classes for x in sampled]),
                self.roi_heads.num_classes,
                predictor.smooth_l1_beta,
                predictor.loss_weight,
            )
        )
        return losses

    def detections_of(
        self, targets: SoftTargets, images: ImageList, threshold: float
    ) -> list[Instances]:
        """This model's detections of at least ``threshold``, from features it has computed."""
        proposals, _ = self.proposal_generator(images, targets.features, None)
        extra = {} if targets.context is None else {"context": targets.context}
        found, _ = self.roi_heads(images, targets.features, proposals, None, **extra)
        return hard_labels(found, threshold)

    def _sampling_from(self, images: ImageList) -> AbstractContextManager:
        """Context in which RoI heads that keep samples know of which images they are."""
        told = getattr(self.roi_heads, "sampling_from", None)
        return nullcontext() if told is None else told(images)

    def _proposals(
        self, anchors: list[Boxes], logits: Tensor, deltas: Tensor, images: ImageList
    ) -> list[Instances]:
        """Proposals of the training RPN from outputs that are there already; constants."""
        sizes = [len(a) for a in anchors]
        with torch.no_grad():
            return self.proposal_generator.predict_proposals(
                anchors,
                list(logits.split(sizes, 1)),
                list(deltas.split(sizes, 1)),
                images.image_sizes,
            )
