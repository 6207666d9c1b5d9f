"""The images that a command looks at: a data set by name, a folder, or one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode
from numpy.typing import NDArray

from ..data.catalog.classes import run_classes
from ..data.catalog.domains import (
    domain_kind,
    load_labelled,
    load_unlabelled,
    require_registered,
)
from ..data.formats.image_files import SUFFIXES, is_image_name, walk_images
from ..data.loader.build import default_mapper
from ..errors import UserError
from ..modeling.model_kind import is_classifier
from ..reports.run_report.domains import OTHER, SOURCE, TARGET, choose_dataset, domain_of


@dataclass(frozen=True)
class Sample:
    """One image as the network is fed, and what is known about it.

    Args:
        input: Detectron2's dict with ``image`` (C, H, W), the size after resizing.
        boxes: shape (n, 4), x0 y0 x1 y1 in pixels of ``image``; None where there are none known.
        classes: shape (n,), of the boxes, or (1,), of a classification image; None if unknown.
    """

    input: dict
    boxes: NDArray | None = None
    classes: NDArray | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input, pixels."""
        return tuple(self.input["image"].shape[-2:])

    @property
    def file_name(self) -> str:
        return self.input["file_name"]

    def rgb(self, cfg: CfgNode) -> NDArray:
        """The input as a picture, uint8, shape (H, W, 3)."""
        pixels = self.input["image"].numpy().transpose(1, 2, 0)
        if cfg.INPUT.FORMAT == "L":
            return pixels.repeat(3, axis=2)
        return pixels[:, :, ::-1].copy() if cfg.INPUT.FORMAT == "BGR" else pixels


def read_samples(
    cfg: CfgNode, where: str, count: int = 0, seed: int = 0, domain: int = 0
) -> list[Sample]:
    """Images mapped as in evaluation.

    Args:
        cfg: of the run that shall see them.
        where: a registered data set, a folder of images (searched with its subfolders), a file.
        count: draw this many without replacement; 0 = all of them.
        seed: of the draw; the images keep their order.
        domain: number of the domain that each says it is of (0 = source).

    Raises:
        UserError: there is no such thing, there are no images in it, or one cannot be read.
    """
    dicts, kind = _dicts(cfg, where)
    if count and count < len(dicts):
        kept = np.random.default_rng(seed).choice(len(dicts), count, replace=False)
        dicts = [dicts[i] for i in sorted(kept)]
    labelled = kind == "detection" or "label" in dicts[0]
    mapper = default_mapper(cfg, kind, is_train=False, labelled=labelled)
    return [_sample(d, mapper({**d, "domain": domain})) for d in dicts]


def in_batches(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    """Successive samples of one image size, at most ``size`` a batch, so that none is padded."""
    batch: list[Sample] = []
    for sample in samples:
        if batch and (len(batch) == size or sample.size != batch[0].size):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _dicts(cfg: CfgNode, where: str) -> tuple[list[dict], str]:
    of_model = "classification" if is_classifier(cfg) else "detection"
    path = Path(where).expanduser()
    if where not in DatasetCatalog and path.exists():
        files = [path] if path.is_file() else walk_images(path)
        if not files or not is_image_name(files[0].name):
            raise UserError(f"there is no image ({', '.join(SUFFIXES)}) in {path}")
        return [{"file_name": str(f), "image_id": str(f)} for f in files], of_model
    require_registered(where)
    kind = domain_kind([where])
    if kind != of_model:
        raise UserError(f"{where} is a {kind} data set, and the run is a {of_model} model")
    try:
        return load_labelled(where, run_classes(cfg)), kind
    except UserError:  # without labels it can be looked at too; all else is said again
        return load_unlabelled(where), kind


def _sample(dataset_dict: dict, mapped: dict) -> Sample:
    if "annotations" not in dataset_dict:
        label = dataset_dict.get("label")
        return Sample(mapped, classes=None if label is None else np.array([label]))
    height, width = mapped["image"].shape[-2:]
    scale = np.array([width / mapped["width"], height / mapped["height"]] * 2)
    kept = [a for a in dataset_dict["annotations"] if not a.get("iscrowd", 0)]
    boxes = [
        BoxMode.convert(list(a["bbox"]), a.get("bbox_mode", BoxMode.XYXY_ABS), BoxMode.XYXY_ABS)
        for a in kept
    ]
    return Sample(
        mapped,
        np.array(boxes, dtype=float).reshape(-1, 4) * scale,
        np.array([int(a["category_id"]) for a in kept], dtype=int),
    )


def default_sets(cfgs: Sequence[CfgNode]) -> tuple[str, str]:
    """The source and the target data set to look at when the user names none.

    Names tell which of ``DATASETS.TEST`` is of which domain, as in a report (:func:`.domain_of`):
    by the training data of the first run that has a target. Where none is of the target, one that
    is of neither stands for it, or else the first; where no other is of the source, its training
    data do.

    Raises:
        UserError: the configs name no test set.
    """
    cfg = next((c for c in cfgs if c.DATASETS.TARGET), cfgs[0])
    train, tests = cfg.DATASETS.TRAIN, cfg.DATASETS.TEST
    if not tests:
        raise UserError("the run's config names no DATASETS.TEST: say which data to look at")
    domains = {name: domain_of(name, train, cfg.DATASETS.TARGET) for name in tests}
    target = choose_dataset(domains, TARGET) or choose_dataset(domains, OTHER) or tests[0]
    domains.pop(target)
    return choose_dataset(domains, SOURCE) or next(iter(train), ""), target
