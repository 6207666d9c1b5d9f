"""Batches of noise with random boxes or labels, made on the CPU, the same for the same seed."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from metaalign_det.adaptation.step import Batch


def noise_batch(cfg: CfgNode, size: tuple[int, int], seed: int) -> Batch:
    """``SOLVER.IMS_PER_BATCH`` labelled source images and as many of the target as configured.

    Args:
        cfg: of a detector or a classifier.
        size: height and width in pixels.
        seed: of images and annotations.
    """
    solver = cfg.SOLVER
    counts = (solver.IMS_PER_BATCH, solver.IMS_PER_BATCH_TARGET or solver.IMS_PER_BATCH)
    g = torch.Generator().manual_seed(seed)
    return {
        domain: [_image(cfg, size, g, i, labelled=i == 0) for _ in range(count)]
        for i, (domain, count) in enumerate(zip(("source", "target"), counts))
    }


def with_strong_target(batch: Batch) -> Batch:
    """The batch with a strong view of the target: the same images, darker."""
    strong = [{**x, "image": 0.7 * x["image"]} for x in batch["target"]]
    return {**batch, "target_strong": strong}


def _image(
    cfg: CfgNode, size: tuple[int, int], g: torch.Generator, domain: int, labelled: bool
) -> dict:
    h, w = size
    item = {"image": torch.rand((3, h, w), generator=g) * 255, "domain": domain}
    if not labelled:
        return item
    if cfg.MODEL.META_ARCHITECTURE == "DomainAdaptiveClassifier":
        classes = cfg.MODEL.CLASSIFIER.NUM_CLASSES
        return {**item, "label": int(torch.randint(classes, (), generator=g))}
    corners = torch.rand((3, 2), generator=g) * 0.5
    far = corners + 0.2 + 0.3 * torch.rand((3, 2), generator=g)
    boxes = torch.cat([corners, far], dim=1) * torch.tensor([w, h, w, h])
    instances = Instances((h, w))
    instances.gt_boxes = Boxes(boxes)
    instances.gt_classes = torch.randint(cfg.MODEL.ROI_HEADS.NUM_CLASSES, (3,), generator=g)
    return {**item, "instances": instances}
