"""A trained model at work on anybody's images, detector or classifier.

    from metaalign_det.explain.predict import Predictor

    predictor = Predictor.from_checkpoint("output/swda_meta", threshold=0.5)
    found = predictor("drawing.png")            # Instances in the pixels of the image
    print(predictor.names(found), found.scores, found.pred_boxes.tensor)

Shape shorthand: R detections, K classes, (H, W) of an image.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.structures import Instances
from PIL import Image
from torch import Tensor, nn

from ..adaptation.adaptive_bn import adapt_batchnorm, tracking_layers
from ..adaptation.contract import AdaptableModel
from ..data.formats.class_names import ClassIndex
from ..data.views.classification import build_classification_augmentations
from ..errors import UserError
from .predict_checkpoint import open_checkpoint
from .predict_images import ImageLike, as_rgb, describe_image

# Images that go through the backbone together when statistics are taken of them.
_STATISTICS_BATCH = 8

# Batches' worth of images among which equal sizes are looked for.
_LOOK_AHEAD = 4

_VANISHES = "resized, its shorter side has 0 pixels left: cut it into pieces"


@dataclass(frozen=True)
class Classification:
    """What a classifier says about one image.

    Args:
        scores (Tensor): shape (K,), probabilities.
        class_names: K names.
    """

    scores: Tensor
    class_names: tuple[str, ...]

    def top(self, k: int = 1) -> list[tuple[str, float]]:
        """The ``k`` most probable classes, the best first: (name, probability)."""
        values, indices = self.scores.topk(min(k, len(self.class_names)))
        return [(self.class_names[i], v) for v, i in zip(values.tolist(), indices.tolist())]


class Predictor:
    """Images in, results in the pixels of those images out.

    What a result is does not depend on the other images of a batch: only images that have the
    same size after resizing are run together, so that nothing is padded.

    Args:
        model: in evaluation mode, a Detectron2 detector or a :class:`~metaalign_det.modeling.
            DomainAdaptiveClassifier`.
        cfg: its config: ``INPUT`` says how an image is resized and in which order its channels
            come.
        class_names: K names in the order of the model's outputs.
        kind: "detection" or "classification".
        classes: names of the classes to report, of a detector; () = all.

    Raises:
        UserError: a name in ``classes`` that the model does not know, or a classifier's classes
            are to be filtered.
    """

    def __init__(
        self,
        model: nn.Module,
        cfg: CfgNode,
        class_names: Sequence[str],
        *,
        kind: str,
        classes: Sequence[str] = (),
    ) -> None:
        self.model = model
        self.cfg = cfg
        self.class_names = tuple(class_names)
        self.kind = kind
        self._kept = self._indices(classes)
        self._augmentations = T.AugmentationList(
            build_classification_augmentations(cfg, is_train=False)
            if kind == "classification"
            else detection_utils.build_augmentation(cfg, is_train=False)
        )

    @classmethod
    def from_checkpoint(
        cls,
        path: str | Path,
        *,
        device: str | None = None,
        threshold: float | None = None,
        classes: Sequence[str] = (),
        teacher: bool = False,
    ) -> Predictor:
        """Everything from a checkpoint: config, class names, pixel format.

        Args:
            path: a checkpoint or a run directory; see :func:`.predict_checkpoint.open_checkpoint`.
            device: "cpu", "cuda", ...; default: the config's where it exists, else the CPU.
            threshold: lowest score of a detection, in [0, 1]; default: that of the config's
                evaluation (``MODEL.ROI_HEADS.SCORE_THRESH_TEST``: 0.05 unless it says otherwise, 0
                in the configs after the papers), which leaves many boxes.
            classes: names of the classes to report; () = all.
            teacher: use the average of the weights instead of the weights, where there is one.

        Raises:
            UserError: see there; a threshold that is no probability.
        """
        trained = open_checkpoint(path, teacher=teacher)
        if threshold is not None:
            if not 0 <= threshold <= 1:
                raise UserError(f"a threshold is a probability in [0, 1], not {threshold}")
            trained.cfg.MODEL.ROI_HEADS.SCORE_THRESH_TEST = float(threshold)
            trained.cfg.MODEL.RETINANET.SCORE_THRESH_TEST = float(threshold)
        model = trained.build(device)
        return cls(model, trained.cfg, trained.class_names, kind=trained.kind, classes=classes)

    def __call__(
        self, images: ImageLike | Sequence[ImageLike], *, batch_size: int = 1, order: str = "RGB"
    ) -> Instances | Classification | list[Instances] | list[Classification]:
        """One result for one image, a list of them for a list.

        Args:
            images: paths, arrays or Pillow images.
            batch_size: images that go through the model together.
            order: of the channels of arrays: "RGB", or "BGR" as OpenCV reads them.

        Returns:
            Instances: of a detector, on the CPU: ``pred_boxes`` (R, 4), absolute x0, y0, x1, y1 in
            the pixels of the image as it was given; ``scores`` (R,) and ``pred_classes`` (R,),
            numbers in ``class_names``. Of a classifier, :class:`Classification`.

        Raises:
            UserError: an image cannot be read, or is no image.
        """
        if isinstance(images, str | Path | np.ndarray | Image.Image):
            return next(self.stream([images], order=order))
        return list(self.stream(images, batch_size=batch_size, order=order))

    def stream(
        self, images: Iterable[ImageLike], *, batch_size: int = 1, order: str = "RGB"
    ) -> Iterator[Instances | Classification]:
        """Results one after the other, in the order of the images, holding a few at a time.

        Args: as for calling; ``images`` may be endless.
        """
        if batch_size < 1:
            raise UserError(f"batch size must be >= 1, got {batch_size}")
        images = iter(images)
        window = 1 if batch_size == 1 else batch_size * _LOOK_AHEAD
        while chunk := [self.prepare(x, order=order) for x in islice(images, window)]:
            yield from self.run(chunk, batch_size=batch_size)

    def adapt_statistics(
        self,
        images: Iterable[ImageLike],
        *,
        order: str = "RGB",
        batch_size: int = _STATISTICS_BATCH,
        bad: list[UserError] | None = None,
    ) -> int:
        """Replace BatchNorm's running statistics by those of these images, for good.

        Adaptive BatchNorm (Li et al., 2016; :func:`~..adaptation.adaptive_bn.adapt_batchnorm`): for
        images that are unlike those of the training. No label is needed and no weight changes. A
        detector's images of one orientation run together, padded as in training; a classifier's if
        they have one size.

        Args:
            images: some hundreds, of the kind that is to be predicted on; statistics of a few are
                those of these few.
            order: of the channels of arrays.
            batch_size: images that go through the backbone together.
            bad: where to put what is wrong with an image that cannot be used; None = raise it.

        Returns:
            int: how many images were used.

        Raises:
            UserError: the model has no BatchNorm with statistics of its own (frozen ones, group
                normalisation), or is not of this package; fewer than two images can be used, or
                than two of a size where a layer sees one position an image; without ``bad``, one
                cannot.
        """
        if batch_size < 1:
            raise UserError(f"batch size must be >= 1, got {batch_size}")
        model = self.model
        if not isinstance(model, AdaptableModel):
            raise UserError(
                f"statistics are replaced in models of this package, not in {type(model).__name__}"
            )
        if not tracking_layers(model.backbone):
            raise UserError(
                "the model has no BatchNorm whose statistics could be replaced: frozen layers "
                "(NORM FrozenBN) keep theirs, other normalisation has none"
            )
        inputs = self._usable(images, order, bad)
        first = list(islice(inputs, 2))
        if len(first) < 2:
            raise UserError(f"statistics need at least 2 usable images, there are {len(first)}")
        used = 0

        def batches() -> Iterator[list[dict]]:
            nonlocal used
            for batch in self._alike(chain(first, inputs), batch_size):
                used += len(batch)
                yield batch

        adapt_batchnorm(model, batches(), sys.maxsize, model.backbone_features)
        return used

    def names(self, found: Instances) -> list[str]:
        """Class name of every detection."""
        return [self.class_names[k] for k in found.pred_classes.tolist()]

    def prepare(self, image: ImageLike, *, order: str = "RGB", name: str = "") -> dict:
        """The input that the model gets for an image: ``image``, ``height``, ``width``.

        ``image`` is a float Tensor (C, H', W') after resizing, in the channel order of
        ``INPUT.FORMAT``; height and width are the image's own.

        Args:
            image: path, array or Pillow image.
            order: of the channels of an array.
            name: what messages call it; default: its path or shape.

        Raises:
            UserError: it cannot be read, is smaller than the crop of a classifier, or so long that
                resizing leaves nothing of its shorter side.
        """
        pixels = as_rgb(image, order)
        if self.cfg.INPUT.FORMAT == "BGR":
            pixels = pixels[:, :, ::-1]
        elif self.cfg.INPUT.FORMAT == "L":
            pixels = np.asarray(Image.fromarray(pixels).convert("L"))[:, :, None]
        height, width = pixels.shape[:2]
        given = T.AugInput(np.ascontiguousarray(pixels))
        try:
            self._augmentations(given)
        except ValueError as error:
            what = f"{name}, {width}x{height} pixels" if name else describe_image(image)
            reason = error if self.kind == "classification" else _VANISHES
            raise UserError(f"{what}: {reason}") from error
        tensor = torch.as_tensor(given.image.astype("float32").transpose(2, 0, 1))
        return {"image": tensor, "height": height, "width": width}

    @torch.no_grad()
    def run(
        self, inputs: Sequence[dict], *, batch_size: int = 1
    ) -> list[Instances | Classification]:
        """Results of what :meth:`prepare` made, in its order.

        Args:
            inputs: of images; those of one size are run together.
            batch_size: images that go through the model together.
        """
        by_size: dict[tuple[int, ...], list[int]] = {}
        for i, item in enumerate(inputs):
            by_size.setdefault(tuple(item["image"].shape), []).append(i)
        results: list = [None] * len(inputs)
        for indices in by_size.values():
            for start in range(0, len(indices), batch_size):
                batch = indices[start : start + batch_size]
                for i, output in zip(batch, self.model([inputs[i] for i in batch])):
                    results[i] = self._result(output)
        return results

    def _usable(
        self, images: Iterable[ImageLike], order: str, bad: list[UserError] | None
    ) -> Iterator[dict]:
        for image in images:
            try:
                yield self.prepare(image, order=order)
            except UserError as error:
                if bad is None:
                    raise
                bad.append(error)

    def _alike(self, inputs: Iterable[dict], size: int) -> Iterator[list[dict]]:
        """Batches of images that the backbone takes together, each once, in any order."""
        waiting: dict[object, list[dict]] = defaultdict(list)
        full = set()
        for item in inputs:
            height, width = item["image"].shape[1:]
            kind = (height, width) if self.kind == "classification" else height > width
            waiting[kind].append(item)
            if len(waiting[kind]) == size:
                full.add(kind)
                yield waiting.pop(kind)
        for kind, rest in waiting.items():
            # Where a map has one position, one image has no variance; it is not missed among many.
            if len(rest) > 1 or kind not in full:
                yield rest

    def _result(self, output: dict) -> Instances | Classification:
        if self.kind == "classification":
            return Classification(output["scores"].cpu(), self.class_names)
        found = output["instances"].to("cpu")
        if self._kept is not None:
            found = found[torch.isin(found.pred_classes, self._kept)]
        return found

    def _indices(self, classes: Sequence[str]) -> Tensor | None:
        if not classes:
            return None
        if self.kind == "classification":
            raise UserError("classes are chosen among a detector's; a classifier always weighs all")
        index = ClassIndex(self.class_names)
        for name in classes:
            if index.find(name) is None:
                raise UserError(f"the model has no class {name!r}: {index.describe(name)}")
        return torch.tensor([index.find(name) for name in classes])
