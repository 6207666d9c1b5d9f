"""Accuracy of a classifier: overall, per-class mean, per class by name, confusion matrix.

Office-31 and Office-Home report the overall accuracy, VisDA-2017 the per-class mean: both are
always given. K stands for the number of classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from tabulate import tabulate

from ..errors import UserError
from ..files import report_path, write_json

logger = logging.getLogger(__name__)

_MOST_LABELS = 70  # more class names than this cannot be read on the picture
_MOST_NUMBERS = 12  # likewise for the counts in its cells


class _Answer(NamedTuple):
    file: str | None
    label: int
    predicted: int
    confidence: float


class ClassificationEvaluator(DatasetEvaluator):
    """Accuracy on a registered data set whose dicts hold a ``label``.

    One evaluator scores one data set; give Detectron2's loop one for each. All processes must
    call :meth:`evaluate`; the first returns the results, the others ``{}``.
    """

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | Path | None = None,
        *,
        class_names: Sequence[str] | None = None,
    ) -> None:
        """
        Args:
            dataset_name: a registered data set.
            output_dir: where ``confusion_<dataset>.json`` and ``.png``, and what is predicted for
                each image, ``predictions_<dataset>.json``, go; default nowhere.
            class_names: in the order of the labels; default the data set's ``thing_classes``.

        Raises:
            UserError: if no class names are known.
        """
        if class_names is None:
            class_names = MetadataCatalog.get(dataset_name).get("thing_classes", [])
        if not class_names:
            raise UserError(
                f"data set {dataset_name!r} has no 'thing_classes' in its metadata: register it "
                "with its class names"
            )
        self.dataset_name = dataset_name
        self.class_names = list(class_names)
        self._output_dir = output_dir
        self.reset()

    def reset(self) -> None:
        self._answers: dict[object, _Answer] = {}  # by image
        self._repeated = 0

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the predictions of a batch.

        Args:
            inputs: dicts with ``label`` (int) and ``image_id`` or ``file_name``.
            outputs: dicts with ``scores`` (Tensor): shape (K,), probabilities.

        Raises:
            UserError: an input without label or name, or that does not fit the classes; two files
                of one ``image_id``.
        """
        for given, output in zip(inputs, outputs, strict=True):
            image = given.get("image_id", given.get("file_name"))
            if image is None or "label" not in given:
                raise UserError(
                    f"an input of data set {self.dataset_name!r} lacks its label or its "
                    f"image_id (it has {', '.join(sorted(given))}): only labelled data can be "
                    "scored"
                )
            scores, label = output["scores"], int(given["label"])
            if scores.shape != (len(self.class_names),) or not 0 <= label < len(self.class_names):
                raise UserError(
                    f"{given.get('file_name', image)}: label {label} and scores of shape "
                    f"{tuple(scores.shape)} do not fit the {len(self.class_names)} classes of "
                    f"data set {self.dataset_name!r}; is MODEL.CLASSIFIER.NUM_CLASSES right?"
                )
            predicted = int(scores.argmax())
            confidence = float(scores[predicted])
            self._add(image, _Answer(given.get("file_name"), label, predicted, confidence))

    def _add(self, image: object, answer: _Answer) -> None:
        first = self._answers.setdefault(image, answer)
        if first.file != answer.file:
            raise UserError(
                f"data set {self.dataset_name!r} uses image_id {image!r} for two files, "
                f"{first.file} and {answer.file}: make them unique"
            )
        self._repeated += first is not answer

    def evaluate(self) -> dict:
        """Gather the predictions of all processes and score them.

        Returns:
            dict: ``{"classification": {...}}`` with ``accuracy`` (overall),
            ``accuracy_class_mean`` and ``accuracy/<class>``; in percent. A class without images
            is NaN and left out of the mean.
        """
        comm.synchronize()
        gathered = comm.gather((self._answers, self._repeated), dst=0)
        if not comm.is_main_process():
            return {}
        self.reset()
        for answers, repeated in gathered:
            self._repeated += repeated
            for image, answer in answers.items():
                self._add(image, answer)
        if self._repeated:
            logger.warning(
                "%s: %d images were predicted more than once; the first time counts",
                self.dataset_name,
                self._repeated,
            )
        unsure = sum(math.isnan(answer.confidence) for answer in self._answers.values())
        if unsure:
            logger.warning(
                "%s: the scores of %d of %d images are NaN, as of a model that has diverged: what "
                "is counted as predicted for them means nothing",
                self.dataset_name,
                unsure,
                len(self._answers),
            )
        k = len(self.class_names)
        confusion = np.zeros((k, k), dtype=np.int64)
        for answer in self._answers.values():
            confusion[answer.label, answer.predicted] += 1
        results = accuracies(confusion, self.class_names)
        self._report(confusion, results)
        return {"classification": results}

    def _report(self, confusion: np.ndarray, results: dict[str, float]) -> None:
        count = confusion.sum(axis=1)
        rows = [[n, count[k], results[f"accuracy/{n}"]] for k, n in enumerate(self.class_names)]
        rows.append(["class mean", "", results["accuracy_class_mean"]])
        rows.append(["overall", count.sum(), results["accuracy"]])
        logger.info(
            "%s: accuracy in percent\n%s",
            self.dataset_name,
            tabulate(rows, headers=["class", "images", "accuracy"], floatfmt=".2f"),
        )
        empty = [n for n, c in zip(self.class_names, count) if not c]
        if empty:
            logger.info(
                "%s: no images of %s: left out of the class mean",
                self.dataset_name,
                ", ".join(empty),
            )
        if self._output_dir is None:
            return
        write_json(
            report_path(self._output_dir, "confusion", self.dataset_name, ".json"),
            {
                "dataset": self.dataset_name,
                "results": results,
                "classes": self.class_names,
                "rows": "true class",
                "columns": "predicted class",
                "matrix": confusion,
            },
            indent=None,
        )
        write_json(
            report_path(self._output_dir, "predictions", self.dataset_name, ".json"),
            [
                {
                    "image_id": image,
                    "label": self.class_names[label],
                    "predicted": self.class_names[predicted],
                    "score": confidence,
                }
                for image, (_, label, predicted, confidence) in self._answers.items()
            ],
            indent=None,
        )
        draw_confusion(
            confusion,
            self.class_names,
            report_path(self._output_dir, "confusion", self.dataset_name, ".png"),
            title=f"{self.dataset_name}: {results['accuracy']:.1f} % correct",
        )


def accuracies(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Overall, class-mean and per-class accuracy in percent; NaN where there is no image.

    Args:
        confusion (ndarray): shape (K, K), counts; rows are true classes, columns predicted ones.
        class_names: K names.
    """
    count, correct = confusion.sum(axis=1), confusion.diagonal()
    with np.errstate(invalid="ignore"):
        per_class = 100.0 * correct / count
        overall = 100.0 * correct.sum() / np.float64(count.sum())
    present = per_class[count > 0]
    return {
        "accuracy": float(overall),
        "accuracy_class_mean": float(present.mean()) if len(present) else float("nan"),
        **{f"accuracy/{n}": float(a) for n, a in zip(class_names, per_class)},
    }


def draw_confusion(
    confusion: np.ndarray, class_names: Sequence[str], out_png: str | Path, title: str = ""
) -> None:
    """Write a confusion matrix as a picture; colour is the share of the true class.

    Args:
        confusion (ndarray): shape (K, K), counts; rows are true classes, columns predicted ones.
        class_names: K names.
        out_png: file to write.
        title: line above it.
    """
    from matplotlib.figure import Figure  # no pyplot: no window, no global state

    k = len(class_names)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = float(np.clip(1.8 + 0.42 * k, 4.0, 13.0))
    figure = Figure(figsize=(side + 0.8, side), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(100.0 * share, cmap="Blues", vmin=0, vmax=100)
    axes.set(title=title, xlabel="predicted class", ylabel="true class")
    if k <= _MOST_LABELS:
        size = 9 if k <= 2 * _MOST_NUMBERS else 6
        axes.set_xticks(range(k), class_names, rotation=90, fontsize=size)
        axes.set_yticks(range(k), class_names, fontsize=size)
    if k <= _MOST_NUMBERS:
        for row, column in np.argwhere(confusion):
            axes.text(
                column,
                row,
                str(confusion[row, column]),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if share[row, column] > 0.5 else "black",
            )
    figure.colorbar(image, ax=axes, label="% of the true class", shrink=0.75)
    figure.savefig(out_png)
