"""Data sets that exist in memory only, to be inspected."""

from __future__ import annotations

from detectron2.structures import BoxMode

from metaalign_det.data.doctor.findings import Finding
from metaalign_det.data.doctor.inspection import Inspection, Subject
from metaalign_det.data.doctor.registry import all_findings
from tests.data.trees import tiny_cfg

CLASSES = ("cat", "dog")


def image(name, boxes=(), size=(100, 80), classes=None):
    """A dataset dict; boxes are corners, all of class 0 unless ``classes`` says otherwise."""
    classes = classes or [0] * len(boxes)
    return {
        "file_name": name, "image_id": name, "width": size[0], "height": size[1],
        "annotations": [
            {"bbox": list(box), "bbox_mode": BoxMode.XYXY_ABS, "category_id": k}
            for box, k in zip(boxes, classes)
        ],
    }  # fmt: skip


def labelled(*dicts, role="source 0", name=None, classes=CLASSES):
    return Subject(role, name or role.replace(" ", "_"), "detection", dicts, classes)


def unlabelled(*files, role="target", name=None, size=(100, 80)):
    dicts = [{"file_name": f, "image_id": f, "width": size[0], "height": size[1]} for f in files]
    return Subject(role, name or role, "detection", dicts, None)


def inspect(*subjects, facts=None, cfg=None, only=None) -> list[Finding]:
    """What is found, by one check or by all."""
    if cfg is None:
        cfg = tiny_cfg(
            TRAIN=[s.name for s in subjects if s.part == "source"],
            TARGET=[s.name for s in subjects if s.part == "target"],
            TEST=[s.name for s in subjects if s.part == "test"],
        )
        cfg.MODEL.ROI_HEADS.NUM_CLASSES = len(CLASSES)
    configured = not any(s.part == "data" for s in subjects)
    found = all_findings(Inspection(subjects, cfg, configured, facts or {}))
    return [f for f in found if only in (None, f.check)]
