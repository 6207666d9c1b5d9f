"""BatchNorm's statistics of the user's own images in a trained model, out of a command's arguments.

What to expect is in ``docs/results-mini.md``: about two points more of a detector that was trained
on weak views, a loss where all views were strong.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import UserError
from .predict import Predictor
from .predict_inputs import InputFile, Video

logger = logging.getLogger(__name__)

#: Images that are looked at of a larger number: means and variances of more hardly differ.
MOST_IMAGES = 400
#: With fewer, the statistics are rather those of these very images.
FEW_IMAGES = 32


@dataclass(frozen=True)
class StatisticsOf:
    """What statistics were taken of.

    Args:
        images: how many.
        unusable: what is wrong with each of the others.
    """

    images: int
    unusable: tuple[str, ...]

    def __str__(self) -> str:
        left_out = f" ({len(self.unusable)} could not be used)" if self.unusable else ""
        return f"BatchNorm's statistics are those of {self.images} images{left_out}"


def take_statistics(predictor: Predictor, files: Sequence[InputFile]) -> StatisticsOf:
    """:meth:`.Predictor.adapt_statistics` of images and of frames of videos; progress to stderr.

    Of more than :data:`MOST_IMAGES` files as many are drawn, the same each time, and of a video
    frames at equal distances. What cannot be read is left out.

    Raises:
        UserError: the model has no statistics to replace, or fewer than two images can be used.
    """
    if len(files) > MOST_IMAGES:
        files = random.Random(0).sample(list(files), MOST_IMAGES)
    bad: list[UserError] = []
    used = predictor.adapt_statistics(_images(files, bad), bad=bad)
    if used < FEW_IMAGES:
        logger.warning(
            "statistics of %d images are rather those of these images than of their kind: "
            "give some hundreds",
            used,
        )
    if predictor.cfg.INPUT.VIEWS.SOURCE == "strong":
        logger.warning(
            "this model saw strong views alone (INPUT.VIEWS.SOURCE): statistics of plain images "
            "may make it worse, look at some results of both"
        )
    return StatisticsOf(used, tuple(map(str, bad)))


def _images(files: Sequence[InputFile], bad: list[UserError]) -> Iterator[Path | NDArray]:
    most_frames = max(1, MOST_IMAGES // max(len(files), 1))
    for file in tqdm(files, unit="file", desc="statistics"):
        if not file.is_video:
            yield file.path
            continue
        try:
            video = Video.open(file)
        except UserError as error:
            bad.append(error)
            continue
        step = max(1, -(-video.frames // most_frames))
        yield from islice((pixels for _, pixels in video), 0, step * most_frames, step)
