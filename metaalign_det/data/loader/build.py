"""Several labelled source domains and an unlabelled target, as one endless series of batches."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch.utils.data import DataLoader

from ...errors import BadImageError, UserError
from ..catalog.classes import run_classes
from ..catalog.domains import domain_kind, load_labelled, load_unlabelled, source_domains
from ..catalog.register import register_from_config
from ..views.detection import SourceMapper, TargetMapper
from ..views.strong import DOMAINS, VIEWS, StrongView
from .bad_images import BadImages
from .batch_split import split_batch_sizes
from .stream import STRONG, ImageLoader, MappedImages, Mapper, Stream

logger = logging.getLogger(__name__)


class AdaptationLoader:
    """Iterates over batches, ``{"source": list[dict], "target": list[dict]}``, without end.

    Where strong views are asked for, there are ``source_strong`` and ``target_strong`` beside or
    instead of these: dicts of the same images after the same geometry, sharing all but ``image``.

    Args:
        sources: one stream per source domain.
        target: None yields empty target lists.
        start_iter: number of the first batch; read when iteration begins.
        seed: what the streams were built with, for the record.
        views: of source and target, each "weak", "strong" or "both".
        bad_images: that training goes without; None where such an image is an error.
    """

    def __init__(
        self,
        sources: Sequence[Stream],
        target: Stream | None,
        start_iter: int,
        seed: int,
        views: tuple[str, str] = ("weak", "weak"),
        bad_images: BadImages | None = None,
    ) -> None:
        self.sources = tuple(sources)
        self.target = target
        self.start_iter = start_iter
        self.seed = seed
        self.views = views
        self.bad_images = bad_images

    def __iter__(self) -> Iterator[dict[str, list[dict]]]:
        sources = [stream.batches(self.start_iter) for stream in self.sources]
        target = None if self.target is None else self.target.batches(self.start_iter)
        while True:
            yield self._batch(
                [image for batches in sources for image in next(batches)],
                [] if target is None else next(target),
            )

    def _batch(self, source: list[dict], target: list[dict]) -> dict[str, list[dict]]:
        batch = {}
        for domain, images, views in zip(DOMAINS, (source, target), self.views):
            if views != "weak":
                strong = [image.pop(STRONG) for image in images]
                batch[f"{domain}_strong"] = [
                    {**image, "image": view} for image, view in zip(images, strong)
                ]
            if views != "strong":
                batch[domain] = images
        return batch


def build_adaptation_train_loader(
    cfg: CfgNode,
    start_iter: int = 0,
    *,
    seed: int | None = None,
    source_mapper: Mapper | None = None,
    target_mapper: Mapper | None = None,
) -> AdaptationLoader:
    """The training data of a config.

    Every source domain (``DATASETS.TRAIN_DOMAINS``) is a stream with an equal share of
    ``SOLVER.IMS_PER_BATCH``; all of ``DATASETS.TARGET`` is one with
    ``SOLVER.IMS_PER_BATCH_TARGET``. Each image has its ``domain``: source domains from 0, then
    the target. ``INPUT.VIEWS`` says which views of them there are.

    Args:
        cfg: as of :func:`metaalign_det.config.add_metaalign_config`.
        start_iter: the iteration to resume at: iteration i gets the same batch whether or not
            those before it were loaded.
        seed: instead of ``cfg.SEED``; the same on all processes. If both are missing (None and
            negative) one is drawn and logged.
        source_mapper: instead of the default for the kind of data.
        target_mapper: the same for the target. Whatever it is, it is given no label.

    Raises:
        UserError: data that cannot be read, or batch sizes that cannot be split.
    """
    register_from_config(cfg)  # a trainer of somebody else's may not have
    if seed is None:
        seed = cfg.SEED if cfg.SEED >= 0 else _common_seed()
    split = split_batch_sizes(cfg)
    kind = domain_kind([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET])
    views, (source_strong, target_strong) = _views(cfg)
    bad_images = BadImages.from_config(cfg)
    settings = _stream_settings(cfg, kind, seed, bad_images)
    classes = run_classes(cfg)
    sources = []
    mapper = source_mapper or default_mapper(cfg, kind, is_train=True)
    for number, names in enumerate(source_domains(cfg)):
        dicts = _read(partial(load_labelled, classes=classes), names, number, bad_images)
        labels = None
        if kind == "detection" and cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
            dicts = _with_objects(dicts, names)
        if cfg.DATALOADER.BALANCED_SOURCE:
            if kind != "classification":
                raise UserError(
                    "DATALOADER.BALANCED_SOURCE draws classes of images equally often; the images "
                    f"of {', '.join(names)} have boxes. Set it to False"
                )
            labels = [d["label"] for d in dicts]
        own = {"number": number, "labels": labels, "strengthen": source_strong}
        sources.append(Stream(dicts, mapper, split.per_domain, **own, **settings))
    target = None
    if cfg.DATASETS.TARGET:
        target = build_target_stream(
            cfg,
            seed=seed,
            mapper=target_mapper,
            strengthen=target_strong,
            bad_images=bad_images,
        )
    return AdaptationLoader(sources, target, start_iter, seed, views, bad_images)


def _views(cfg: CfgNode) -> tuple[tuple[str, str], list[StrongView | None]]:
    """``INPUT.VIEWS`` of source and target, and what makes the strong ones."""
    views = (cfg.INPUT.VIEWS.SOURCE, cfg.INPUT.VIEWS.TARGET)
    for domain, wanted in zip(DOMAINS, views):
        if wanted not in VIEWS:
            raise UserError(
                f"INPUT.VIEWS.{domain.upper()} must be {', '.join(VIEWS)}, not {wanted!r}"
            )
    return views, [
        None if wanted == "weak" else StrongView.from_config(cfg, domain)
        for domain, wanted in zip(DOMAINS, views)
    ]


def build_target_stream(
    cfg: CfgNode,
    *,
    seed: int,
    mapper: Mapper | None = None,
    strengthen: StrongView | None = None,
    bad_images: BadImages | None = None,
) -> Stream:
    """The unlabelled target of a training by itself, drawn as it is there.

    Args:
        cfg: as in training, with names in ``DATASETS.TARGET``.
        seed: of the training.
        mapper: instead of the default for the kind of data.
        strengthen, bad_images: see :class:`.stream.Stream`.

    Raises:
        UserError: data that cannot be read, or a batch size that cannot be split.
    """
    kind = domain_kind([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET])
    split = split_batch_sizes(cfg)
    number = split.domains
    dicts = _read(load_unlabelled, cfg.DATASETS.TARGET, number, bad_images)
    mapper = mapper or default_mapper(cfg, kind, is_train=True, labelled=False)
    settings = _stream_settings(cfg, kind, seed, bad_images)
    own = {"number": number, "strengthen": strengthen}
    return Stream(dicts, mapper, split.target, **own, **settings)


def _read(
    load: Callable[..., list[dict]],
    names: Sequence[str],
    domain: int,
    bad_images: BadImages | None,
) -> list[dict]:
    bad: list[BadImageError] | None = None if bad_images is None else []
    dicts = [{**d, "domain": domain} for name in names for d in load(name, bad=bad)]
    if bad_images is not None:
        bad_images.leave_out(bad)
    return dicts


def _stream_settings(
    cfg: CfgNode, kind: str, seed: int, bad_images: BadImages | None
) -> dict[str, Any]:
    return {
        "bad_images": bad_images,
        "seed": seed,
        "group_aspect_ratios": cfg.DATALOADER.ASPECT_RATIO_GROUPING and kind == "detection",
        "num_workers": num_workers(cfg),
        "pin_memory": cfg.MODEL.DEVICE.startswith("cuda") and torch.cuda.is_available(),
    }


def num_workers(cfg: CfgNode) -> int:
    """``DATALOADER.NUM_WORKERS``, at most one per core; batches do not depend on it."""
    return min(cfg.DATALOADER.NUM_WORKERS, os.cpu_count() or 1)


def default_mapper(cfg: CfgNode, kind: str, is_train: bool, labelled: bool = True) -> Mapper:
    """The mapper for images of one kind, "detection" or "classification"."""
    if kind == "classification":
        from ..views.classification import ClassificationMapper

        return ClassificationMapper(cfg, is_train, labelled)
    return SourceMapper(cfg, is_train) if labelled else TargetMapper(cfg, is_train)


def build_test_loader(cfg: CfgNode, name: str) -> DataLoader:
    """All images of one data set, once, over all processes.

    Boxes do not come along: evaluators take them from the data set itself. Image labels do, for
    the evaluator of a classifier.

    Args:
        cfg: as in training.
        name: one of ``cfg.DATASETS.TEST``.

    Returns:
        DataLoader: yields ``list[dict]``, for Detectron2's evaluation loop. Iterating over it in
        the middle of training leaves the random numbers of training as they are.

    Raises:
        UserError: data that cannot be read.
    """
    kind = domain_kind([name])
    dicts = load_labelled(name, run_classes(cfg))
    mapper = default_mapper(cfg, kind, is_train=False)
    if cfg.TEST.BATCH_SIZE < 1:
        raise UserError(f"TEST.BATCH_SIZE must be at least 1, got {cfg.TEST.BATCH_SIZE}")
    return ImageLoader(
        MappedImages(dicts, mapper),
        num_workers(cfg),
        pin_memory=False,
        sampler=InferenceSampler(len(dicts)),
        batch_size=cfg.TEST.BATCH_SIZE,
    )


def _with_objects(dicts: list[dict], names: Sequence[str]) -> list[dict]:
    kept = [d for d in dicts if any(not a.get("iscrowd", 0) for a in d["annotations"])]
    if not kept:
        raise UserError(f"DATASETS.TRAIN: no image of {', '.join(names)} has an object to learn")
    if len(kept) < len(dicts):
        logger.info(
            "%s: %d of %d images have objects; the others are left out "
            "(DATALOADER.FILTER_EMPTY_ANNOTATIONS)",
            ", ".join(names),
            len(kept),
            len(dicts),
        )
    return kept


def _common_seed() -> int:
    """A seed that all processes agree on, and that costs the global generators nothing."""
    seed = comm.all_gather(int.from_bytes(os.urandom(4), "little") % 2**31)[0]
    logger.info("SEED is negative: the data are drawn with seed %d", seed)
    return seed
