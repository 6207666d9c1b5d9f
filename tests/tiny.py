"""A detector that fits in a test: eight channels wide, on images of noise."""

from __future__ import annotations

import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances

import metaalign_det.modeling  # noqa: F401  (registers)
from metaalign_det.config import add_metaalign_config


def tiny_cfg(*opts, discriminators=("LOCAL", "GLOBAL"), context=True) -> CfgNode:
    """Config of a SWDARCNN on the mini backbone; ``opts`` are KEY, VALUE pairs."""
    cfg = get_cfg()
    add_metaalign_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "SWDARCNN"
    cfg.MODEL.BACKBONE.NAME = "build_mini_resnet_backbone"
    cfg.MODEL.PIXEL_STD = [58.0, 58.0, 58.0]
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    cfg.MODEL.MINI_RESNET.WIDTH = 8
    cfg.MODEL.RESNETS.NORM = "FrozenBN"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[16, 32]]
    cfg.MODEL.RPN.BATCH_SIZE_PER_IMAGE = 32
    cfg.MODEL.RPN.PRE_NMS_TOPK_TRAIN = 60
    cfg.MODEL.RPN.POST_NMS_TOPK_TRAIN = 30
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 60
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = 20
    cfg.MODEL.ROI_HEADS.NAME = "ContextStandardROIHeads"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 3
    cfg.MODEL.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 16
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 1
    cfg.MODEL.ROI_BOX_HEAD.FC_DIM = 16
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 3
    cfg.MODEL.DA.LOCAL.HIDDEN = [8, 6]
    cfg.MODEL.DA.GLOBAL.HIDDEN = [8, 6]
    cfg.MODEL.DA.INSTANCE.HIDDEN = [8]
    cfg.MODEL.DA.INSTANCE.ROIS_PER_IMAGE = 8
    for name in discriminators:
        cfg.MODEL.DA[name].ENABLED = True
    cfg.MODEL.DA.CONTEXT = context and bool({"LOCAL", "GLOBAL"} & set(discriminators))
    cfg.SOLVER.BASE_LR = 0.01
    cfg.SOLVER.MAX_ITER = 100
    cfg.SEED = 3
    cfg.merge_from_list(list(opts))
    return cfg


def tiny_model(cfg: CfgNode, seed: int = 0, double: bool = False) -> torch.nn.Module:
    """The config's model in training mode, the same for the same seed."""
    torch.manual_seed(seed)
    model = build_model(cfg).train()
    return model.double() if double else model


def images(count: int, domain: int, *, size=(64, 64), seed=0, labelled=True, double=False):
    """Training dicts with noise for images, and two boxes each if labelled."""
    g = torch.Generator().manual_seed(1000 * domain + seed)
    sizes = size if isinstance(size, list) else [size] * count
    out = []
    for h, w in sizes:
        image = torch.rand((3, h, w), generator=g) * 255
        item = {"image": image.double() if double else image, "domain": domain}
        if labelled:
            instances = Instances((h, w))
            boxes = torch.tensor([[4.0, 6, 30, 28], [20, 24, 56, 60]])
            instances.gt_boxes = Boxes(boxes.double() if double else boxes)
            instances.gt_classes = torch.tensor([0, 2])
            item["instances"] = instances
        out.append(item)
    return out


def batch(n_source=2, n_target=2, **kwargs) -> dict[str, list[dict]]:
    return {
        "source": images(n_source, 0, **kwargs),
        "target": images(n_target, 1, labelled=False, **kwargs),
    }
