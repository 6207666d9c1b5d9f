"""What a Faster R-CNN learns from a teacher's soft predictions on target images.

Shape shorthand: N images, A anchors of an image (all levels), R sampled regions, K classes.

With T the teacher's probabilities and S the student's, on anchors and regions that the teacher's
hard labels sample as in supervised training:

- ``loss_rpn_cls``: binary cross-entropy of the student's objectness against T's, over sampled
  anchors; ``loss_rpn_loc``: smooth L1 between both deltas, over foreground anchors;
- ``loss_cls``: ``-sum_k T_k log S_k`` over the *student's* proposals; ``loss_box_reg``: smooth L1
  between both deltas of the labelled class, over foreground regions.

Reference: Kay et al., Align and Distill: Unifying and Improving Domain Adaptive Object Detection,
TMLR 2025, section 4 (ALDI++); docs/method.md, "Teachers".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances
from fvcore.nn import smooth_l1_loss
from torch import Tensor, nn

from ..alignment.precision import full_precision
from ..errors import UserError


@dataclass(frozen=True)
class SoftTargets:
    """A teacher's view of a batch, all of it constant.

    Args:
        features: its feature maps by name.
        context (Tensor): shape (N, D), its context vectors; None without.
        objectness (Tensor): shape (N, A), logits.
        deltas (Tensor): shape (N, A, 4), of anchors.
    """

    features: dict[str, Tensor]
    context: Tensor | None
    objectness: Tensor
    deltas: Tensor

    def in_full_precision(self) -> SoftTargets:
        """The same for layers that do not run under autocast."""
        return SoftTargets(
            {name: full_precision(x) for name, x in self.features.items()},
            None if self.context is None else full_precision(self.context),
            full_precision(self.objectness),
            full_precision(self.deltas),
        )


def hard_labels(predictions: Sequence[Instances], threshold: float) -> list[Instances]:
    """Detections of at least ``threshold`` as annotations, in the same coordinates.

    Args:
        predictions: with ``pred_boxes``, ``scores`` and ``pred_classes``, one per image.
        threshold: in [0, 1].

    Returns:
        list[Instances]: with ``gt_boxes`` and ``gt_classes``; may be empty.
    """
    labels = []
    for found in predictions:
        kept = found[(found.scores >= threshold) & found.pred_boxes.nonempty()]
        fields = {"gt_boxes": Boxes(kept.pred_boxes.tensor), "gt_classes": kept.pred_classes}
        labels.append(Instances(kept.image_size, **fields))
    return labels


@contextmanager
def shifted_classes(box_predictor: nn.Module, log_odds: Tensor | None) -> Iterator[None]:
    """Within it, class logits (R, K + 1) come with ``log_odds`` (K,) added; not the background's.

    Args:
        box_predictor: returns class logits and deltas, as Detectron2's ``FastRCNNOutputLayers``;
            or a list of such, a cascade's.
        log_odds: None = nothing is added.
    """
    if log_odds is None:
        yield
        return
    shift = F.pad(log_odds, (0, 1))

    def add(_: nn.Module, __: Any, outputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        scores, deltas = outputs
        return scores + shift.to(scores), deltas

    several = isinstance(box_predictor, nn.ModuleList)  # which is never called itself
    handles = [
        p.register_forward_hook(add) for p in (box_predictor if several else [box_predictor])
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def rpn_outputs(rpn: RPN, features: dict[str, Tensor]) -> tuple[list[Boxes], Tensor, Tensor]:
    """Anchors of each level, and objectness logits (N, A) and deltas (N, A, 4) of all of them."""
    maps = [features[f] for f in rpn.in_features]
    logits, deltas = rpn.rpn_head(maps)
    # (N, B, H, W) and (N, B * 4, H, W), B anchors per position, as in Detectron2's RPN.
    flat_logits = [x.permute(0, 2, 3, 1).flatten(1) for x in logits]
    flat_deltas = [
        x.view(x.shape[0], -1, 4, *x.shape[-2:]).permute(0, 3, 4, 1, 2).flatten(1, -2)
        for x in deltas
    ]
    return rpn.anchor_generator(maps), torch.cat(flat_logits, 1), torch.cat(flat_deltas, 1)


def rpn_distillation(
    rpn: RPN,
    outputs: tuple[list[Boxes], Tensor, Tensor],
    targets: SoftTargets,
    labels: list[Instances],
) -> dict[str, Tensor]:
    """``loss_rpn_cls`` and ``loss_rpn_loc`` of the student's ``outputs`` against ``targets``."""
    anchors, logits, deltas = outputs
    sampled = torch.stack(rpn.label_and_sample_anchors(anchors, labels)[0])  # (N, A): -1, 0, 1
    normalizer = rpn.batch_size_per_image * len(labels)
    seen, foreground = sampled >= 0, sampled == 1
    classification = F.binary_cross_entropy_with_logits(
        logits[seen], targets.objectness[seen].sigmoid(), reduction="sum"
    )
    boxes = smooth_l1_loss(
        deltas[foreground], targets.deltas[foreground], rpn.smooth_l1_beta, reduction="sum"
    )
    weights = rpn.loss_weight
    return {
        "loss_rpn_cls": classification / normalizer * weights.get("loss_rpn_cls", 1.0),
        "loss_rpn_loc": boxes / normalizer * weights.get("loss_rpn_loc", 1.0),
    }


def check_heads(roi_heads: nn.Module) -> None:
    """The RoI heads can be student and teacher of soft targets.

    Raises:
        UserError: they cannot give region features, or their class scores are no distribution.
    """
    if not hasattr(roi_heads, "roi_features"):
        raise UserError(
            "TEACHER.METHOD 'soft' needs RoI heads that give region features: set "
            "MODEL.ROI_HEADS.NAME to ContextRes5ROIHeads or ContextStandardROIHeads"
        )
    if getattr(roi_heads.box_predictor, "use_sigmoid_ce", False):
        raise UserError(
            "TEACHER.METHOD 'soft' compares distributions over classes and background, but "
            "MODEL.ROI_BOX_HEAD.USE_SIGMOID_CE scores each class by itself: set it to False, or "
            "TEACHER.METHOD 'hard'"
        )


def region_predictions(
    roi_heads: nn.Module,
    features: dict[str, Tensor],
    boxes: Sequence[Boxes],
    context: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Class logits (R, K + 1) and deltas (R, 4 K) or (R, 4) of given regions."""
    x = roi_heads.roi_features(features, list(boxes))
    if context is None:
        return roi_heads.box_predictor(x)
    rows = torch.cat([row.expand(len(b), -1) for row, b in zip(context, boxes)])
    return roi_heads.box_predictor(x, rows)


def region_distillation(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    classes: Tensor,
    num_classes: int,
    beta: float,
    weights: Mapping[str, float],
) -> dict[str, Tensor]:
    """``loss_cls`` and ``loss_box_reg`` over R regions.

    Args:
        student, teacher: logits (R, K + 1) and deltas of the same regions.
        classes (Tensor): long, shape (R,), hard labels; K = background.
        num_classes: K.
        beta: of smooth L1.
        weights: of the losses, as in supervised training; 1 where there is none.
    """
    (scores, deltas), (wanted_scores, wanted_deltas) = student, teacher
    count = max(len(classes), 1)
    loss = -(wanted_scores.softmax(1) * scores.log_softmax(1)).sum() / count
    rows = torch.nonzero(classes < num_classes).squeeze(1)
    if deltas.shape[1] == 4:  # class-agnostic
        found, wanted = deltas[rows], wanted_deltas[rows]
    else:
        found = deltas.view(-1, num_classes, 4)[rows, classes[rows]]
        wanted = wanted_deltas.view(-1, num_classes, 4)[rows, classes[rows]]
    boxes = smooth_l1_loss(found, wanted, beta, reduction="sum") / count
    return {
        "loss_cls": loss * weights.get("loss_cls", 1.0),
        "loss_box_reg": boxes * weights.get("loss_box_reg", 1.0),
    }
