"""Detection scores on any data set with boxes, whatever format it came in.

Two definitions of AP at IoU 0.5 circulate in domain adaptation, so both are reported side by
side, with COCO's: ``AP50_11pt`` (11-point, VOC 2007; what SW-DA and MetaAlign report),
``AP50_area`` (area under the curve, VOC 2010 and later) and ``AP_coco`` (IoU 0.5 to 0.95).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.structures import BoxMode
from detectron2.utils import comm
from tabulate import tabulate

from ..data.catalog.classes import classes_of
from ..data.catalog.domains import load_labelled
from ..data.formats.class_names import ClassIndex
from ..errors import UserError
from ..files import report_path, write_json
from .average_precision import (
    Detected,
    Truth,
    ap_11_point,
    ap_area,
    coco_ap,
    precision_recall,
)

logger = logging.getLogger(__name__)

_NOTHING = Detected(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))


class DetectionEvaluator(DatasetEvaluator):
    """AP per class by name, and the means, on any data set registered with Detectron2.

    Ground truth are its dataset dicts, not files: boxes 0-based and continuous, ``XYXY_ABS`` or
    ``XYWH_ABS``. An annotation with ``difficult`` or ``iscrowd`` set is ignored: it is no positive,
    and a detection that matches it counts as nothing. For the two AP at IoU 0.5 a match is one of
    the VOC devkit (IoU above 0.5), for ``AP_coco`` one of COCO's crowds (most of the detection is
    inside). Classes go by name, in any spelling of :func:`..data.formats.class_names.normalise`.

    On equal input the VOC numbers equal those of Detectron2's ``voc_eval``; Detectron2's own
    evaluator first rounds scores to 3 decimals and boxes to 1, which is not done here.

    All processes must call :meth:`evaluate`; the first returns the results, the others ``{}``.
    """

    def __init__(
        self,
        dataset_name: str,
        class_names: Sequence[str] | None = None,
        output_dir: str | Path | None = None,
        *,
        dicts: Sequence[dict] | None = None,
        model_class_names: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set with annotations.
            class_names: classes to score, some of the data set's; default all of them.
            output_dir: where ``voc_<dataset>.json`` (the results) and
                ``detections_<dataset>.json`` go; default nowhere.
            dicts: what the data set holds, with its own class numbers, where it has been read
                already.
            model_class_names: names of the model's classes in the order of its outputs; default
                the data set's. Detections of classes that are not scored are dropped, so that a
                20-class head can be scored on 6.

        Raises:
            UserError: if the lists of classes do not fit together, or the data set has no
                annotations.
        """
        if dicts is None:
            dicts = load_labelled(dataset_name)
        known = list(classes_of(dataset_name) or ())
        if not known:
            raise UserError(
                f"data set {dataset_name!r} has no 'thing_classes' in its metadata: register it "
                "with its class names"
            )
        self.dataset_name = dataset_name
        self.class_names = list(known if class_names is None else class_names)
        self._output_dir = output_dir
        of_model = list(known if model_class_names is None else model_class_names)
        for origin, names in ((f"data set {dataset_name!r}", known), ("the model", of_model)):
            there = ClassIndex(names)
            missing = [n for n in self.class_names if there.find(n) is None]
            if missing:
                raise UserError(
                    f"cannot score {', '.join(missing)}: {origin} knows only {', '.join(names)}"
                )
        self._from_model = index_map(of_model, self.class_names)
        self._truths = truths_by_image(dataset_name, dicts, index_map(known, self.class_names))
        self.reset()

    def reset(self) -> None:
        self._predictions: dict[object, Detected] = {}
        self._repeated = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the detections of a batch.

        Args:
            inputs: dicts with ``image_id``.
            outputs: dicts with ``instances`` (pred_boxes, pred_classes, scores), in the pixels of
                the original image.
        """
        for given, output in zip(inputs, outputs, strict=True):
            found = output["instances"].to("cpu")
            classes = found.pred_classes.numpy()
            if len(classes) and classes.max() >= len(self._from_model):
                raise UserError(
                    f"the model predicts class number {classes.max()}, but only "
                    f"{len(self._from_model)} class names are known: pass model_class_names"
                )
            classes = self._from_model[classes]
            keep = classes >= 0
            self._add(
                given["image_id"],
                Detected(
                    found.pred_boxes.tensor.numpy()[keep].astype(np.float64),
                    classes[keep],
                    found.scores.numpy()[keep].astype(np.float64),
                ),
            )

    def _add(self, image_id: object, found: Detected) -> None:
        # A second pass over an image would turn its true positives into false ones.
        if image_id in self._predictions:
            self._repeated += 1
        elif image_id not in self._truths:
            raise UserError(
                f"image {image_id!r} is not in data set {self.dataset_name!r}: the loader and the "
                "evaluator were given different data sets"
            )
        else:
            self._predictions[image_id] = found

    def evaluate(self) -> dict:
        """Gather the detections of all processes and score them.

        Returns:
            dict: ``{"voc": {...}}`` with ``AP50_11pt``, ``AP50_area``, ``AP_coco`` and each
            again per class, as in ``AP50_11pt/bicycle``; in percent. A class without (not
            difficult) ground truth is NaN and left out of the means.
        """
        comm.synchronize()
        gathered = comm.gather((self._predictions, self._repeated), dst=0)
        if not comm.is_main_process():
            return {}
        self.reset()
        for predictions, repeated in gathered:
            self._repeated += repeated
            for image_id, found in predictions.items():
                self._add(image_id, found)
        self._warn_about_coverage()

        truths = list(self._truths.values())
        detected = [self._predictions.get(i, _NOTHING) for i in self._truths]
        curves = [
            precision_recall([t.of(k) for t in truths], [d.of(k) for d in detected])
            for k in range(len(self.class_names))
        ]
        scores = {
            "AP50_11pt": [ap_11_point(c) for c in curves],
            "AP50_area": [ap_area(c) for c in curves],
            "AP_coco": coco_ap(truths, detected, len(self.class_names)).tolist(),
        }
        scores = {metric: [100.0 * x for x in values] for metric, values in scores.items()}
        results = {metric: _mean(values) for metric, values in scores.items()}
        for metric, values in scores.items():
            results |= {f"{metric}/{n}": v for n, v in zip(self.class_names, values)}
        self._report(scores, results, [c.positives for c in curves], detected)
        return {"voc": results}

    def _warn_about_coverage(self) -> None:
        if self._repeated:
            logger.warning(
                "%s: %d images were predicted more than once; the first time counts",
                self.dataset_name,
                self._repeated,
            )
        missing = len(self._truths) - len(self._predictions)
        if missing:
            logger.warning(
                "%s: no predictions for %d of %d images; they count as nothing detected",
                self.dataset_name,
                missing,
                len(self._truths),
            )

    def _report(
        self,
        scores: Mapping[str, Sequence[float]],
        results: Mapping[str, float],
        positives: Sequence[float],
        detected: Sequence[Detected],
    ) -> None:
        counts = np.zeros(len(self.class_names), np.int64)
        for found in detected:
            np.add.at(counts, found.classes, 1)
        rows = [
            [name, positives[k], counts[k], *(values[k] for values in scores.values())]
            for k, name in enumerate(self.class_names)
        ]
        rows.append(["mean", sum(positives), counts.sum(), *(results[m] for m in scores)])
        logger.info(
            "%s: %d images, AP in percent\n%s",
            self.dataset_name,
            len(self._truths),
            tabulate(
                rows,
                headers=["class", "objects", "detections", *scores],
                floatfmt=".2f",
                tablefmt="simple",
            ),
        )
        empty = [n for n, count in zip(self.class_names, positives) if not count]
        if empty:
            logger.info(
                "%s: no ground truth for %s: left out of the means",
                self.dataset_name,
                ", ".join(empty),
            )
        if self._output_dir is None:
            return
        write_json(
            report_path(self._output_dir, "voc", self.dataset_name, ".json"),
            {
                "dataset": self.dataset_name,
                "images": len(self._truths),
                "objects": dict(zip(self.class_names, positives)),
                "results": results,
            },
        )
        write_json(
            report_path(self._output_dir, "detections", self.dataset_name, ".json"),
            [
                {"image_id": i, "bbox": box, "class": self.class_names[k], "score": score}
                for i, found in self._predictions.items()
                for box, k, score in zip(*(x.tolist() for x in found))
            ],
            indent=None,
        )


def index_map(names: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Index in ``names`` -> index in ``wanted``, or -1. Shape (len(names),)."""
    index = ClassIndex(wanted)
    found = [index.find(n) for n in names]
    return np.array([-1 if k is None else k for k in found], dtype=np.int64)


def _mean(values: list[float]) -> float:
    present = [v for v in values if not np.isnan(v)]
    return float(np.mean(present)) if present else float("nan")


def truths_by_image(
    dataset_name: str, dicts: Sequence[dict], to_evaluated: np.ndarray
) -> dict[object, Truth]:
    """Ground truth by ``image_id``.

    Args:
        dataset_name: for messages.
        dicts: what ``DatasetCatalog`` has under that name.
        to_evaluated (ndarray): class number -> number among the scored classes, -1 for a class
            that is not scored; see :func:`index_map`.

    Raises:
        UserError: an image without a name or without annotations, or two images of one name.
    """
    truths: dict[object, Truth] = {}
    files: dict[object, str | None] = {}
    for record in dicts:
        image_id, file = record.get("image_id"), record.get("file_name")
        where = f"{file or image_id} of data set {dataset_name!r}"
        if image_id is None:
            raise UserError(f"{where} has no image_id")
        if "annotations" not in record:
            raise UserError(f"{where} has no annotations: only labelled data can be scored")
        if image_id in truths:
            if files[image_id] != file:
                raise UserError(
                    f"data set {dataset_name!r} uses image_id {image_id!r} for two files, "
                    f"{files[image_id]} and {file}: make them unique"
                )
            logger.warning("%s is listed more than once; it counts once", where)
            continue
        files[image_id] = file
        annotations = record["annotations"]
        boxes = [
            BoxMode.convert(list(a["bbox"]), a.get("bbox_mode", BoxMode.XYXY_ABS), BoxMode.XYXY_ABS)
            for a in annotations
        ]
        truth = Truth(
            np.array(boxes, dtype=np.float64).reshape(-1, 4),
            to_evaluated[[int(a["category_id"]) for a in annotations]],
            np.array([bool(a.get("difficult") or a.get("iscrowd")) for a in annotations], bool),
        )
        scored = truth.classes >= 0
        truths[image_id] = Truth(*(x[scored] for x in truth))
    return truths
