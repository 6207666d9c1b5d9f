"""The evaluator of a data set, by what its images have: boxes or a class."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluator

from ..data.catalog.classes import run_classes
from ..data.catalog.domains import domain_kind
from .classification import ClassificationEvaluator
from .detection import DetectionEvaluator


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluator:
    """The default evaluator: whatever has boxes is scored in the same way.

    Args:
        cfg: the data sets of the run, whose classes are those of the model, and ``OUTPUT_DIR``;
            files go to ``inference/<data set>`` there.
        dataset_name: one of ``cfg.DATASETS.TEST``: of this package, of Detectron2 (as by
            ``register_coco_instances``), or of the user's own code.

    Raises:
        UserError: unknown name, no labels, class lists that do not go together.
    """
    folder = f"{cfg.OUTPUT_DIR}/inference/{dataset_name}"
    kind = domain_kind([dataset_name])
    classes = run_classes(cfg)
    if kind == "classification":
        return ClassificationEvaluator(dataset_name, output_dir=folder, class_names=classes)
    return DetectionEvaluator(dataset_name, classes, output_dir=folder, model_class_names=classes)
