"""What is really on the test images, where the data sets are on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ...evaluation.average_precision import Detected, Truth
from .run_files import RunFiles


@dataclass(frozen=True)
class LabelledImages:
    """A test set with boxes, or with one class an image.

    Args:
        dataset: its name.
        class_names: in the order of the class numbers.
        files: image id -> file.
        truths: image id -> boxes; empty for a classification set.
    """

    dataset: str
    class_names: Sequence[str]
    files: Mapping[object, str]
    truths: Mapping[object, Truth]

    def detected(self, detections: Sequence[Mapping]) -> list[Detected]:
        """What a run found, one entry an image in the order of ``truths``.

        Args:
            detections: content of ``detections_<dataset>.json``. Those of classes or images that
                this data set does not have are left out.
        """
        number = {name: k for k, name in enumerate(self.class_names)}
        rows: dict[object, list[tuple]] = {image: [] for image in self.truths}
        for item in detections:
            if item["image_id"] in rows and item["class"] in number:
                found = (item["bbox"], number[item["class"]], item["score"])
                rows[item["image_id"]].append(found)
        return [
            Detected(
                np.array([b for b, _, _ in found], float).reshape(-1, 4),
                np.array([k for _, k, _ in found], np.int64),
                np.array([s for _, _, s in found], float),
            )
            for found in rows.values()
        ]


def read_ground_truth(dataset: str, run: RunFiles) -> LabelledImages:
    """Images and labels of a test set.

    Args:
        dataset: its name.
        run: whose config may register it.

    Raises:
        UserError: it is not on this machine, or nobody has registered it. Nothing is generated.
    """
    # Imported here: Detectron2 takes seconds, and a report without ground truth needs none of it.
    from ...config import load_cfg
    from ...data import register_all
    from ...data.catalog.classes import classes_of
    from ...data.catalog.domains import load_labelled
    from ...evaluation.detection import index_map, truths_by_image
    from ...miniatures.store import nothing_generated

    cfg = load_cfg()
    cfg.DATASETS.REGISTER = list(run.config.get("DATASETS.REGISTER", []))
    register_all(cfg)
    with nothing_generated():
        dicts = load_labelled(dataset)
    known = list(classes_of(dataset) or ())
    # The classes that were scored, in their order, which need not be all of the data set's.
    names = list((run.inference("voc", dataset) or {}).get("objects", {})) or known
    files = {d.get("image_id", d.get("file_name")): d["file_name"] for d in dicts}
    if any("annotations" in d for d in dicts):
        truths = truths_by_image(dataset, dicts, index_map(known, names))
        return LabelledImages(dataset, names, files, truths)
    return LabelledImages(dataset, names, files, {})
