"""What the validators of a training look at: target training images without labels, and source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from detectron2.config import CfgNode
from detectron2.data.samplers import InferenceSampler
from detectron2.utils import comm
from torch import nn

from ..data.catalog.classes import run_classes
from ..data.catalog.domains import domain_kind, load_labelled, load_unlabelled
from ..data.catalog.reading import left_out
from ..data.loader.bad_images import BadImages
from ..data.loader.build import default_mapper, num_workers
from ..data.loader.stream import ImageLoader, MappedImages
from ..errors import UserError
from ..evaluation.label_free import DEFAULTS, Inputs, Validator, collect, get_validator, merge
from ..evaluation.label_free.validator import check_task


class SelectionData:
    """Validators of a config and the images they look at, loaded anew each time.

    Args:
        cfg: ``SELECTION`` and ``DATASETS`` are used.

    Raises:
        UserError: an unknown validator, one for the other kind of model, no target, images that
            are to be mixed and come alone.
    """

    def __init__(self, cfg: CfgNode) -> None:
        node = cfg.SELECTION
        targets = node.TARGET or cfg.DATASETS.TARGET
        if not targets:
            raise UserError(
                "SELECTION.ENABLED needs target images: name some in DATASETS.TARGET, or in "
                "SELECTION.TARGET for a training that has no target"
            )
        if node.IMAGES < 0:
            raise UserError(f"SELECTION.IMAGES must be >= 0, got {node.IMAGES}")
        # With the source: images without labels can be either.
        self.task = domain_kind([*cfg.DATASETS.TRAIN, *targets])
        names = [node.VALIDATOR or DEFAULTS[self.task], *node.ALSO]
        self.validators = [get_validator(name) for name in dict.fromkeys(names)]
        for validator in self.validators:
            check_task(validator, self.task)
        self.needs = {need for v in self.validators for need in v.needs}
        self._check_pairs(cfg)
        self.target = _loader(cfg, self.task, targets, labelled=False)
        self.source = None
        if {"source", "source_detections"} & self.needs:
            # A detector's source is looked at without labels, like its target.
            names = node.SOURCE or cfg.DATASETS.TRAIN
            self.source = _loader(cfg, self.task, names, labelled=self.task == "classification")

    @property
    def chooser(self) -> Validator:
        """The validator that chooses."""
        return self.validators[0]

    def _check_pairs(self, cfg: CfgNode) -> None:
        """Images of a batch are mixed with each other."""
        mixing = next((v.name for v in self.validators if "mixtures" in v.needs), "")
        alone = (
            ("TEST.BATCH_SIZE", cfg.TEST.BATCH_SIZE),
            ("SELECTION.IMAGES", cfg.SELECTION.IMAGES),
        )
        for key, value in alone:
            if mixing and value == 1:
                raise UserError(
                    f"SELECTION: the validator {mixing!r} mixes two images of a batch, and {key} "
                    "is 1: set it to 2 or more"
                )

    def collect(self, model: nn.Module) -> Inputs | None:
        """What the validators need of a model; to be called by all processes.

        Returns:
            Inputs: in the first process, of all images; None in the others.
        """
        mine = collect(model, self.task, self.needs, self.target, self.source)
        parts = comm.gather(mine, dst=0)
        return merge(parts) if comm.is_main_process() else None


def _loader(cfg: CfgNode, task: str, names: Sequence[str], labelled: bool) -> ImageLoader:
    bad = left_out(cfg)
    if labelled:
        classes = run_classes(cfg)
        dicts = [d for name in names for d in load_labelled(name, classes, bad=bad)]
    else:
        dicts = [d for name in names for d in load_unlabelled(name, bad=bad)]
    count = min(cfg.SELECTION.IMAGES or len(dicts), len(dicts))
    # Evenly spaced: data sets are often sorted by class.
    chosen = np.linspace(0, len(dicts) - 1, count).round().astype(int)
    dicts = [dicts[i] for i in chosen]
    mapper = default_mapper(cfg, task, is_train=False, labelled=labelled)
    # Where training goes on without images that cannot be decoded, so does this.
    alike = None if bad is None else [d.get("label") for d in dicts]
    return ImageLoader(
        MappedImages(dicts, mapper, alike=alike),
        num_workers(cfg),
        pin_memory=False,
        bad_images=BadImages.from_config(cfg),
        sampler=InferenceSampler(len(dicts)),
        batch_size=cfg.TEST.BATCH_SIZE,
    )
