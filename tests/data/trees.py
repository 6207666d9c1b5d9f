"""Small VOC trees for tests, and the config that goes with them."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode, get_cfg

from metaalign_det.config import add_metaalign_config
from tests.data.make_tiny_voc import annotation_xml, make_tiny_voc

__all__ = ["annotation_xml", "make_tiny_voc", "tiny_cfg", "write_annotation"]


def write_annotation(tree: Path, image_id: str, objects, size=(500, 375)) -> None:
    """Replace one annotation; objects are (class, (xmin, ymin, xmax, ymax), difficult)."""
    path = tree / "Annotations" / f"{image_id}.xml"
    annotation_xml(f"{image_id}.jpg", size, objects).write(path)


def tiny_cfg(**datasets) -> CfgNode:
    """Small images, one process; keyword arguments go to ``cfg.DATASETS``."""
    cfg = get_cfg()
    add_metaalign_config(cfg)
    cfg.SEED = 3
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 6
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    cfg.INPUT.MIN_SIZE_TRAIN = (48, 56, 64)
    cfg.INPUT.MIN_SIZE_TEST = 48
    for key, value in datasets.items():
        setattr(cfg.DATASETS, key, value)
    return cfg
