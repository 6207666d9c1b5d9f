"""Detectron2's RoI heads with context vectors, region features, and samples that can be kept.

Shape shorthand: N images, R regions (of all images), C channels of a region feature, D width of
the context vector, K classes.

With ``context_dim`` 0 both heads are their Detectron2 parents: the same parameters under the same
names, the same random numbers, the same results.

References:
    Saito et al., Strong-Weak Distribution Alignment for Adaptive Object Detection, CVPR 2019,
    section 3.3 (context vectors).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import (
    ROI_HEADS_REGISTRY,
    FastRCNNOutputLayers,
    Res5ROIHeads,
    StandardROIHeads,
    select_foreground_proposals,
)
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn

from ...coordination.stateless import RandomState
from ...errors import UserError
from ..same_images import same_images

# Key under which the context vectors travel beside the feature maps inside StandardROIHeads.
_CONTEXT = "context vectors of metaalign_det"


def context_dim(cfg: CfgNode) -> int:
    """D, the width of the context vector of one image; 0 = there is none.

    It is the sum of the last hidden widths of the enabled image discriminators, local before
    global, if ``MODEL.DA.CONTEXT``.
    """
    da = cfg.MODEL.DA
    if not da.CONTEXT:
        return 0
    return sum(node.HIDDEN[-1] for node in (da.LOCAL, da.GLOBAL) if node.ENABLED)


class ContextOutputLayers(FastRCNNOutputLayers):
    """Box predictor on the concatenation of a region feature x and its image's context vector c.

    A linear layer on a concatenation is a sum of two, W [x; c] + b = W_x x + b + W_c c, and it is
    written so here. W_x keeps the name and shape that it has in a detector without context, so
    the weights of a source-only detector load into one with context, where only W_c is new;
    with one wide matrix Detectron2's checkpointer would throw the trained predictor away.
    """

    @configurable
    def __init__(self, input_shape: ShapeSpec, *, context_dim: int, **kwargs: Any) -> None:
        """
        Args:
            input_shape: of a region feature, without the context.
            context_dim: D >= 1.
            kwargs: those of ``FastRCNNOutputLayers``.
        """
        super().__init__(input_shape, **kwargs)
        if context_dim < 1:
            raise ValueError(f"context_dim must be at least 1, got {context_dim}")
        self.context_dim = context_dim
        self.context_score = nn.Linear(context_dim, self.cls_score.out_features, bias=False)
        self.context_pred = nn.Linear(context_dim, self.bbox_pred.out_features, bias=False)
        # As the columns of the wide matrices would be.
        nn.init.normal_(self.context_score.weight, std=0.01)
        nn.init.normal_(self.context_pred.weight, std=0.001)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        return {**super().from_config(cfg, input_shape), "context_dim": context_dim(cfg)}

    def forward(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """
        Args:
            x (Tensor): region features, shape (R, C) or (R, C, h, w).
            context (Tensor): shape (R, D), the vector of each region's image.

        Returns:
            tuple: scores (Tensor): shape (R, K + 1); deltas (Tensor): shape (R, 4 K), or (R, 4)
            where box regression is class-agnostic.
        """
        scores, deltas = super().forward(x)
        return scores + self.context_score(context), deltas + self.context_pred(context)


class _Sample(NamedTuple):
    """What one call of ``label_and_sample_proposals`` was asked and returned."""

    images: ImageList | None
    targets: list[Instances]
    proposals: list[Instances]
    random_state: RandomState


#: A mixin's base: to a type checker, whatever it is mixed into.
_Host: Any = object


class ContextMixin(_Host):
    """What both heads share; to stand before a Detectron2 ``ROIHeads`` in the list of bases.

    Each adds ``roi_features`` and a ``forward`` that takes ``context``.
    """

    _samples: list[_Sample] | None = None
    _images: ImageList | None = None

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        ret = super().from_config(cfg, input_shape)
        if context_dim(cfg) > 0:
            channels = ret["box_predictor"].cls_score.in_features
            ret["box_predictor"] = ContextOutputLayers(cfg, ShapeSpec(channels=channels))
        return ret

    @property
    def context_dim(self) -> int:
        """D, the width of the context vectors that :meth:`forward` needs; 0 = it takes none."""
        return getattr(self.box_predictor, "context_dim", 0)

    @property
    def roi_feature_dim(self) -> int:
        """C, the width of what ``roi_features`` returns."""
        return self.box_predictor.cls_score.in_features

    @contextmanager
    def fixed_samples(self) -> Iterator[None]:
        """Within it, regions sampled for a batch are kept and returned whenever it comes again.

        The proposals of a later pass at other parameters differ, and sampling anew would drown
        what the parameters change: the samples are constants of a training step. Random numbers
        continue as they did after the first sampling, so that dropout in the box head repeats
        its masks wherever the pass began with the same generator state.

        A batch is recognised by its annotations and, within :meth:`sampling_from`, its images: two
        batches without any label are not the same. Blocks may be nested; the outermost one counts.
        """
        if self._samples is not None:
            yield
            return
        self._samples = []
        try:
            yield
        finally:
            self._samples = None

    @contextmanager
    def sampling_from(self, images: ImageList) -> Iterator[None]:
        """Within it, the regions that are sampled are of these images."""
        before, self._images = self._images, images
        try:
            yield
        finally:
            self._images = before

    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """As in Detectron2, or what it returned before for this batch (:meth:`fixed_samples`)."""
        if self._samples is None:
            return super().label_and_sample_proposals(proposals, targets)
        for sample in self._samples:
            if _same_annotation(sample.targets, targets) and same_images(
                sample.images, self._images
            ):
                sample.random_state.restore()
                return _shallow_copies(sample.proposals)
        sampled = super().label_and_sample_proposals(proposals, targets)
        # Heads may set fields of what they get (TRAIN_ON_PRED_BOXES does), so they get a copy.
        kept = _Sample(self._images, targets, _shallow_copies(sampled), RandomState())
        self._samples.append(kept)
        return sampled

    def _checked(self, context: Tensor | None, num_images: int) -> None:
        expected = (num_images, self.context_dim) if self.context_dim else None
        given = None if context is None else tuple(context.shape)
        if given == expected:
            return
        if expected is None:
            raise ValueError(
                f"these RoI heads were built without MODEL.DA.CONTEXT, got context vectors {given}"
            )
        if given is None:
            raise UserError(
                "the RoI heads were built for context vectors but the model gives them none: "
                "MODEL.DA.CONTEXT needs MODEL.META_ARCHITECTURE SWDARCNN"
            )
        raise ValueError(f"context vectors must have shape {expected}, got {given}")


@ROI_HEADS_REGISTRY.register()
class ContextRes5ROIHeads(ContextMixin, Res5ROIHeads):
    """``Res5ROIHeads`` (C4 models) with context vectors."""

    def roi_features(self, features: dict[str, Tensor], boxes: Sequence[Boxes]) -> Tensor:
        """What the box predictor sees of each region, context apart.

        Args:
            features: feature maps of the backbone by name.
            boxes: regions of each image, absolute pixels of the network's input.

        Returns:
            Tensor: shape (R, C), image after image.
        """
        maps = [features[f] for f in self.in_features]
        return self._shared_roi_transform(maps, list(boxes)).mean(dim=(2, 3))

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
        context: Tensor | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See ``ROIHeads.forward``.

        Args:
            context (Tensor): shape (N, D), one vector per image, if ``context_dim`` is not 0.

        Raises:
            UserError, ValueError: context missing, not wanted, or of another shape.
        """
        self._checked(context, len(proposals))
        if context is None:
            return super().forward(images, features, proposals, targets)
        if self.training:
            proposals = self.label_and_sample_proposals(proposals, targets)
        maps = [features[f] for f in self.in_features]
        regions = self._shared_roi_transform(maps, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(regions.mean(dim=(2, 3)), _per_region(context, proposals))
        if not self.training:
            instances, _ = self.box_predictor.inference(predictions, proposals)
            return self.forward_with_given_boxes(features, instances), {}
        losses = self.box_predictor.losses(predictions, proposals)
        if self.mask_on:
            foreground, chosen = select_foreground_proposals(proposals, self.num_classes)
            losses.update(self.mask_head(regions[torch.cat(chosen)], foreground))
        return [], losses


@ROI_HEADS_REGISTRY.register()
class ContextStandardROIHeads(ContextMixin, StandardROIHeads):
    """``StandardROIHeads`` (FPN, VGG16 and others) with context vectors for the box branch.

    Mask and keypoint branches are those of Detectron2.
    """

    def roi_features(self, features: dict[str, Tensor], boxes: Sequence[Boxes]) -> Tensor:
        """What the box predictor sees of each region: :meth:`ContextRes5ROIHeads.roi_features`."""
        maps = [features[f] for f in self.box_in_features]
        return self.box_head(self.box_pooler(maps, list(boxes))).flatten(start_dim=1)

    def forward(
        self,
        images: ImageList,
        features: dict[str, Tensor],
        proposals: list[Instances],
        targets: list[Instances] | None = None,
        context: Tensor | None = None,
    ) -> tuple[list[Instances], dict[str, Tensor]]:
        """See ``ROIHeads.forward``.

        Args:
            context (Tensor): shape (N, D), one vector per image, if ``context_dim`` is not 0.

        Raises:
            UserError, ValueError: context missing, not wanted, or of another shape.
        """
        self._checked(context, len(proposals))
        if context is not None:
            # The parent hands `features` on to the box branch, and nothing else.
            features = {**features, _CONTEXT: context}
        return super().forward(images, features, proposals, targets)

    def _forward_box(
        self, features: dict[str, Tensor], proposals: list[Instances]
    ) -> dict[str, Tensor] | list[Instances]:
        if _CONTEXT not in features:
            return super()._forward_box(features, proposals)
        regions = self.roi_features(features, [p.proposal_boxes for p in proposals])
        predictions = self.box_predictor(regions, _per_region(features[_CONTEXT], proposals))
        if not self.training:
            return self.box_predictor.inference(predictions, proposals)[0]
        losses = self.box_predictor.losses(predictions, proposals)
        if self.train_on_pred_boxes:
            with torch.no_grad():
                boxes = self.box_predictor.predict_boxes_for_gt_classes(predictions, proposals)
            for proposals_per_image, boxes_per_image in zip(proposals, boxes):
                proposals_per_image.proposal_boxes = Boxes(boxes_per_image)
        return losses


def _per_region(context: Tensor, proposals: Sequence[Instances]) -> Tensor:
    """(N, D) -> (R, D): the vector of each region's image."""
    # A shape, not len(p): to an exporter that is the number of regions of its example, for good.
    counts = [p.proposal_boxes.tensor.shape[0] for p in proposals]
    return torch.cat([row.expand(count, -1) for row, count in zip(context, counts)])


def _shallow_copies(instances: Sequence[Instances]) -> list[Instances]:
    """New ``Instances`` with the same field values: setting a field of one leaves the other."""
    return [Instances(x.image_size, **x.get_fields()) for x in instances]


def _same_annotation(a: Sequence[Instances], b: Sequence[Instances]) -> bool:
    return len(a) == len(b) and all(
        x.image_size == y.image_size
        and torch.equal(x.gt_classes, y.gt_classes)
        and torch.equal(x.gt_boxes.tensor, y.gt_boxes.tensor)
        for x, y in zip(a, b)
    )
