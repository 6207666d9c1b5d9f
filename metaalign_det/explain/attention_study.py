"""Attention of several runs over one set of images: maps to draw and numbers to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .attention import TASK, attention_maps, default_layer
from .attention_share import AttentionMeter, box_mask, focus_difference
from .record import Progress, quietly
from .runs import RunFolder
from .samples import Sample, in_batches, read_samples

_BATCH = 8
_PARTNERS = 16  # images of the other domain, for alignment that needs both in one batch


@dataclass
class Attention:
    """What one run pays attention to.

    Args:
        label: of the run.
        layer: the module whose output is looked at; "" = the maps that each objective reads.
        shown: objective -> method -> number among the images to be drawn -> its map (H, W). One
            that the objective says nothing of, as where there is no proposal, is not there.
        meters: objective -> method -> what was measured over all images.
    """

    label: str
    layer: str = ""
    shown: dict[str, dict[str, dict[int, NDArray]]] = field(default_factory=dict)
    meters: dict[str, dict[str, AttentionMeter]] = field(default_factory=dict)


def choose_shown(samples: Sequence[Sample], count: int) -> list[int]:
    """Images to draw, evenly over the set; those with boxes that cover 5 to 60 % come first."""

    def covered(sample: Sample) -> float:
        if sample.boxes is None:
            return 0.3
        return float(box_mask(sample.boxes, *sample.size).mean())

    good = [i for i, s in enumerate(samples) if 0.05 <= covered(s) <= 0.6]
    pool = good if len(good) >= count else list(range(len(samples)))
    rows = np.linspace(0, len(pool) - 1, min(count, len(pool))).round().astype(int)
    return [pool[i] for i in sorted(set(rows.tolist()))]


def study_attention(
    run: RunFolder,
    samples: Sequence[Sample],
    shown: Sequence[int],
    *,
    domain: str = "target",
    layer: str = "",
    checkpoint: str = "",
    progress: Progress = quietly,
) -> Attention:
    """Maps and shares of one run.

    Args:
        run: the run.
        samples: images as this run's network is fed.
        shown: which of them to keep whole maps of.
        domain: "source" or "target", what the images are of.
        layer: module to look at, "" = :func:`.attention.default_layer`.
        checkpoint: file name, "" = the last.
        progress: wraps the batches.

    Raises:
        UserError: source data that a classifier's alignment needs are missing.
    """
    model = run.model(run.checkpoint(checkpoint))
    layer = layer or default_layer(model, samples[0])
    result = Attention(run.label, layer)
    partners: Sequence[dict] = ()
    aligns = getattr(model, "aligns", False) and model.alignment_needs_target
    if aligns and not model.alignment_separable:
        partners = _partners(run, "target" if domain == "source" else "source")
    number = 0
    for batch in progress(list(in_batches(samples, _BATCH)), f"{run.label}: attention"):
        found = attention_maps(model, batch, domain=domain, partners=partners, layer=layer)
        for offset, sample in enumerate(batch):
            mask = None if sample.boxes is None else box_mask(sample.boxes, *sample.size)
            for objective, methods in found.items():
                for method, maps in methods.items():
                    attention = maps[offset].float().cpu().numpy()
                    _keep(result, objective, method, number + offset, attention, mask, shown)
        number += len(batch)
    return result


def _keep(
    result: Attention,
    objective: str,
    method: str,
    number: int,
    attention: NDArray,
    mask: NDArray | None,
    shown: Sequence[int],
) -> None:
    if number in shown:
        of_images = result.shown.setdefault(objective, {}).setdefault(method, {})
        of_images[list(shown).index(number)] = attention
    meters = result.meters.setdefault(objective, {})
    meters.setdefault(method, AttentionMeter()).add(number, attention, mask)


def _partners(run: RunFolder, domain: str) -> list[dict]:
    """A batch of the other domain, from the run's own training data."""
    source = domain == "source"
    names = run.cfg.DATASETS.TRAIN if source else run.cfg.DATASETS.TARGET
    if not names:
        raise UserError(f"{run.folder}: its config names no {domain} data, which alignment needs")
    drawn = read_samples(run.cfg, names[0], _PARTNERS, 0, 0 if source else 1)
    return [s.input for s in next(in_batches(drawn, _PARTNERS))]


def summarise(studies: Sequence[Attention], seed: int) -> dict[str, dict]:
    """Numbers of all runs.

    Returns:
        dict: ``runs``: label -> objective -> method -> the numbers of
        :meth:`AttentionMeter.summary` with ``overlap_with_task`` and
        ``overlap_with_task_elsewhere`` (the task's map of another image); ``minus_first``: label
        -> objective -> method -> difference of focus to the first run that has the objective, an
        :class:`Estimate`.
    """
    numbers: dict[str, dict] = {}
    differences: dict[str, dict] = {}
    for study in studies:
        numbers[study.label] = {
            objective: {m: _numbers(study, objective, m, seed) for m in methods}
            for objective, methods in study.meters.items()
        }
        differences[study.label] = {}
        for objective, methods in study.meters.items():
            first = next(s for s in studies if objective in s.meters)
            if first is not study:
                differences[study.label][objective] = {
                    m: focus_difference(
                        first.meters[objective][m], meter, np.random.default_rng(seed)
                    )
                    for m, meter in methods.items()
                }
    return {"runs": numbers, "minus_first": differences}


def _numbers(study: Attention, objective: str, method: str, seed: int) -> dict[str, object]:
    meter = study.meters[objective][method]
    numbers = meter.summary(np.random.default_rng(seed))
    if objective != TASK and TASK in study.meters:
        own, elsewhere = meter.overlap(study.meters[TASK][method])
        numbers |= {"overlap_with_task": own, "overlap_with_task_elsewhere": elsewhere}
    return numbers
