"""The target images on which two settings differ most, with what each of them says."""

from __future__ import annotations

import base64
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np

from ...errors import UserError
from ...evaluation.average_precision import Detected, Truth
from ...evaluation.matching import TRUE, match
from ...files import printable
from ..document import Card, Figure
from .diagnosis import SCORE_THRESHOLD, Diagnoses, Diagnosis
from .ground_truth import LabelledImages

_LONGER_SIDE = 360  # pixels of an embedded picture
_HIT, _WRONG, _OBJECT, _MISSED = "hit", "wrong", "object", "missed"


@dataclass(frozen=True)
class Sample:
    """An image that two settings judge differently.

    Args:
        image: its id.
        before, after: mistakes of either on it.
    """

    image: object
    before: int
    after: int


def choose_samples(before: Diagnosis, after: Diagnosis, truth: LabelledImages, most: int) -> list:
    """Images of the largest difference in mistakes, both ways: up to half of them got worse.

    A mistake of a detector is an object not found, or a detection that is none, at scores of at
    least SCORE_THRESHOLD; of a classifier it is the wrong class.

    Returns:
        list[Sample]: those that got better first, largest difference first.
    """
    a, b = _mistakes(before, truth), _mistakes(after, truth)
    both = [Sample(image, a[image], b[image]) for image in a if image in b]
    # Ties, as all of a classifier's are, in no order: the first images are all of one class.
    random.Random(0).shuffle(both)
    better = sorted((s for s in both if s.after < s.before), key=lambda s: s.after - s.before)
    worse = sorted((s for s in both if s.after > s.before), key=lambda s: s.before - s.after)
    kept = worse[: max(most // 2, most - len(better))]
    return better[: most - len(kept)] + kept


def sample_cards(
    diagnoses: Diagnoses, before: str, after: str, most: int = 6
) -> tuple[list[Card], list[Sample]]:
    """Cards of ground truth, before and after; of one common seed of both settings.

    Args:
        diagnoses: of the target's test set.
        before, after: labels of the settings.
        most: images to show.
    """
    ours, theirs = diagnoses.by_run.get(before, {}), diagnoses.by_run.get(after, {})
    seed = next((seed for seed in ours if seed in theirs), None)
    if diagnoses.truth is None or seed is None:
        return [], []
    pair = {before: ours[seed], after: theirs[seed]}
    chosen = choose_samples(ours[seed], theirs[seed], diagnoses.truth, most)
    cards = []
    for number, sample in enumerate(chosen):
        picture = _picture(diagnoses.truth.files.get(sample.image, ""))
        if picture is not None:
            draw = _detector_card if ours[seed].matches is not None else _classifier_card
            cards.append(draw(number, sample, picture, pair, diagnoses.truth))
    return cards, chosen


def _mistakes(diagnosis: Diagnosis, truth: LabelledImages) -> dict[object, int]:
    if diagnosis.matches is None:
        return {i: int(label != told) for i, (label, told, _) in diagnosis.answers.items()}
    out = {}
    for image, found in diagnosis.detected.items():
        styles = _styles(truth.truths[image], found)
        out[image] = sum(style in (_WRONG, _MISSED) for _, _, style, _ in styles)
    return out


def _styles(truth: Truth, found: Detected) -> list[tuple]:
    """What to draw of one image: (box, class, style, score or None)."""
    kept = Detected(*(x[found.scores >= SCORE_THRESHOLD] for x in found))
    matches = match([truth], [kept])
    hit = matches.outcome == TRUE
    seen = set(matches.own_box[hit].tolist())
    drawn = [
        (box, int(k), _MISSED, None)
        for i, (box, k) in enumerate(zip(truth.boxes, truth.classes))
        if i not in seen and not truth.difficult[i]
    ]
    for box, k, score, outcome in zip(*kept, matches.outcome):
        if outcome in (0, TRUE):
            drawn.append((box, int(k), _HIT if outcome == TRUE else _WRONG, float(score)))
    return drawn


@dataclass(frozen=True)
class _Picture:
    data: str  # URL
    width: int  # of the original, in whose pixels boxes are
    height: int


def _picture(file: str) -> _Picture | None:
    if not file:
        return None
    # Imported here: Detectron2 takes seconds, and whoever has files has loaded it.
    from ...data.views.images import read_image

    try:
        image = np.ascontiguousarray(read_image(file))
    except UserError:
        return None
    height, width = image.shape[:2]
    scale = min(1.0, _LONGER_SIDE / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])
    data = base64.b64encode(encoded.tobytes()).decode("ascii")
    return _Picture(f"data:image/jpeg;base64,{data}", width, height)


def _detector_card(
    number: int,
    sample: Sample,
    picture: _Picture,
    pair: Mapping[str, Diagnosis],
    truth: LabelledImages,
) -> Card:
    real = truth.truths[sample.image]
    objects = [(b, int(k), _OBJECT, None) for b, k in zip(real.boxes, real.classes)]
    panels = {"ground truth": objects}
    panels |= {
        label: _styles(real, one.detected.get(sample.image, _NOTHING))
        for label, one in pair.items()
    }
    figures = []
    for i, (label, drawn) in enumerate(panels.items()):
        # The picture is embedded once and used again by the panels beside it.
        reference = f"sample{number}"
        layer = (
            f'<image id="{reference}" href="{picture.data}" width="{picture.width}" '
            f'height="{picture.height}"/>'
            if i == 0
            else f'<use href="#{reference}"/>'
        )
        alt = _say(drawn, truth.class_names)
        figures.append(Figure(label, _drawing(picture, layer, drawn, truth, label, alt), alt))
    counts = f"{_count(sample.before)} before, {_count(sample.after)} after"
    return Card(f"{printable(str(sample.image))}: {counts}", "", figures)


def _classifier_card(
    number: int,
    sample: Sample,
    picture: _Picture,
    pair: Mapping[str, Diagnosis],
    truth: LabelledImages,
) -> Card:
    label = next(iter(pair.values())).answers[sample.image][0]
    says = []
    for name, one in pair.items():
        _, told, score = one.answers[sample.image]
        says.append(f"{name} says {told} ({score:.0%}){'' if told == label else ', wrong'}")
    alt = f"An image of class {label}"
    layer = f'<image href="{picture.data}" width="{picture.width}" height="{picture.height}"/>'
    svg = _drawing(picture, layer, [], truth, "image", alt)
    return Card(f"{label}", "; ".join(says), [Figure("", svg, alt)])


def _drawing(
    picture: _Picture,
    layer: str,
    drawn: Sequence[tuple],
    truth: LabelledImages,
    label: str,
    alt: str,
) -> str:
    unit = max(picture.width, picture.height) / 100
    parts = [layer]
    for box, k, style, score in drawn:
        x0, y0, x1, y1 = np.asarray(box, float)
        text = truth.class_names[k] + ("" if score is None else f" {score:.2f}")
        parts.append(
            f'<rect class="box {style}" x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" '
            f'height="{y1 - y0:.1f}" stroke-width="{unit:.2f}"/>'
        )
        size = 5.5 * unit
        width = 0.56 * size * len(text)
        x = min(max(x0, 0), max(picture.width - width, 0))
        y = min(max(y0, 0), picture.height - size)
        parts.append(
            f'<rect class="tag {style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" '
            f'height="{1.15 * size:.1f}"/>'
            f'<text class="tagname" x="{x + 0.1 * size:.1f}" y="{y + 0.92 * size:.1f}" '
            f'font-size="{size:.1f}">{escape(text)}</text>'
        )
    return (
        f'<svg class="sample" role="img" viewBox="0 0 {picture.width} {picture.height}" '
        f'aria-label="{escape(f"{label}: {alt}")}">{"".join(parts)}</svg>'
    )


def _say(drawn: Sequence[tuple], names: Sequence[str]) -> str:
    words = {_HIT: "found", _WRONG: "wrong", _MISSED: "missed", _OBJECT: ""}
    told = [f"{words[style]} {names[k]}".strip() for _, k, style, _ in drawn]
    return ", ".join(told) or "nothing"


def _count(mistakes: int) -> str:
    return f"{mistakes} mistake" + ("" if mistakes == 1 else "s")


_NOTHING = Detected(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0))
