"""Features of images and of ground-truth objects, as a run's network sees them.

Shape shorthand: n examples (images, or objects) of both domains, C channels of a feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.structures import Boxes
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UserError
from .record import Progress, quietly
from .runs import RunFolder
from .samples import Sample, in_batches

#: The kinds of features: a classifier has those of images only.
LEVELS = ("image", "object")
#: Folds of the classifier that tells domains apart (:mod:`.separation`): each needs an image of
#: either domain.
FOLDS = 5
_BATCH = 8


@dataclass(frozen=True)
class Features:
    """Features of one kind, of both domains together.

    Args:
        x: shape (n, C), float64.
        domains: shape (n,), 0 = source, 1 = target.
        classes: shape (n,), -1 where unknown.
        images: shape (n,), number of the image that each is of; an image has one domain.
    """

    x: NDArray
    domains: NDArray
    classes: NDArray
    images: NDArray

    def subset(self, rows: NDArray) -> Features:
        return Features(self.x[rows], self.domains[rows], self.classes[rows], self.images[rows])


def extract_features(
    run: RunFolder,
    samples: Sequence[Sequence[Sample]],
    *,
    checkpoint: str = "",
    progress: Progress = quietly,
) -> dict[str, Features]:
    """Features of a run.

    - "image": the backbone's map that the detector's heads read (the first of them), averaged over
      positions; of a classifier what its last layer reads.
    - "object": what the box predictor reads of each ground-truth box (detectors with
      ``roi_features``, those of this package).

    Args:
        run: the run.
        samples: images of the source and of the target.
        checkpoint: file name, "" = the last.
        progress: wraps the batches.

    Returns:
        dict: level -> features; "object" is missing where a domain has no boxes.

    Raises:
        UserError: a feature is NaN or infinite.
    """
    model = run.model(run.checkpoint(checkpoint))
    read = _detector_features if hasattr(model, "roi_heads") else _classifier_features
    collected: dict[str, list[tuple[NDArray, ...]]] = {}
    images = 0  # seen so far, of both domains
    for domain, of_domain in enumerate(samples):
        name = ("source", "target")[domain]
        batches = list(in_batches(of_domain, _BATCH))
        for batch in progress(batches, f"{run.label}: features of the {name}"):
            with torch.no_grad():
                for level, (x, classes, of_batch) in read(model, batch).items():
                    rows = x.double().cpu().numpy()
                    if not np.isfinite(rows).all():
                        raise UserError(
                            f"{run.label}: features of {batch[0].file_name} are NaN or infinite, "
                            "as of a model that has diverged: leave that run out, or name an "
                            "earlier checkpoint with --checkpoint"
                        )
                    domains = np.full(len(rows), domain)
                    columns = (rows, domains, classes, images + of_batch)
                    collected.setdefault(level, []).append(columns)
            images += len(batch)
    found = {
        level: Features(*(np.concatenate(part) for part in zip(*parts)))
        for level, parts in collected.items()
    }
    return {level: f for level, f in found.items() if level == "image" or len(set(f.domains)) == 2}


#: Level -> features (n, C), their classes (n,), and the position in the batch of their image (n,).
_Read = dict[str, tuple[Tensor, NDArray, NDArray]]


def _detector_features(model: nn.Module, batch: Sequence[Sample]) -> _Read:
    inputs = [s.input for s in batch]
    heads = model.roi_heads
    maps = model.backbone(model.preprocess_image(inputs).tensor)
    names = getattr(heads, "box_in_features", None) or heads.in_features
    unknown = np.full(len(batch), -1)
    each = np.arange(len(batch))
    found: _Read = {"image": (maps[names[0]].mean(dim=(2, 3)), unknown, each)}
    labelled = all(s.boxes is not None for s in batch)
    if labelled and hasattr(heads, "roi_features") and any(len(s.boxes) for s in batch):
        device = maps[names[0]].device
        boxes = [Boxes(torch.as_tensor(s.boxes, dtype=torch.float32, device=device)) for s in batch]
        objects = heads.roi_features(maps, boxes)
        of_image = np.repeat(each, [len(s.boxes) for s in batch])
        found["object"] = (objects, np.concatenate([s.classes for s in batch]), of_image)
    return found


def _classifier_features(model: nn.Module, batch: Sequence[Sample]) -> _Read:
    """What enters the classifier's last layer, seen by a hook."""
    if not isinstance(getattr(model, "classifier", None), nn.Module):
        raise UserError(f"{type(model).__name__} has neither RoI heads nor a last layer to look at")
    seen: list[Tensor] = []
    hook = model.classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        model.inference([s.input for s in batch])
    finally:
        hook.remove()
    classes = [-1 if s.classes is None else int(s.classes[0]) for s in batch]
    return {"image": (torch.cat(seen), np.array(classes), np.arange(len(batch)))}


def balanced(features: Features, most: int, rng: np.random.Generator) -> Features:
    """Equally many of both domains, at most ``most`` of each, drawn at random.

    Raises:
        UserError: a domain has fewer than 10, or those drawn are of fewer images than ``FOLDS``.
    """
    of_domain = [np.flatnonzero(features.domains == d) for d in (0, 1)]
    count = min(most, *map(len, of_domain))
    if count < 10:
        domain = "target" if len(of_domain[1]) < len(of_domain[0]) else "source"
        raise UserError(
            f"features of {count} examples of the {domain} are too few, 10 are wanted: give more "
            f"--images, or name a larger data set by --{domain}"
        )
    rows = [rng.choice(rows, count, replace=False) for rows in of_domain]
    images = min(len(np.unique(features.images[r])) for r in rows)
    if images < FOLDS:
        raise UserError(
            f"{count} objects of a domain that lie in {_images(images)} are too few: folds are "
            f"made of images, at least {FOLDS} of each domain; give more --images or --points"
        )
    return features.subset(np.sort(np.concatenate(rows)))


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
