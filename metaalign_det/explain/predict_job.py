"""A folder of images (or a video) through one model, or two side by side: results and pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import cv2
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import UserError
from .predict import Predictor, as_rgb
from .predict_draw import draw_classes_under, draw_detections_on, side_by_side
from .predict_formats import CLASSIFICATION_FORMATS, DETECTION_FORMATS, Detections
from .predict_inputs import InputFile, Video

_PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}  # other images are drawn as PNG
_BATCHES = 4  # that are read ahead, to find images of one size among them


class PredictJob:
    """Predicts, draws and remembers, image after image; an unreadable one stops nothing.

    Args:
        models: title -> predictor, all of one kind, in the order they are drawn; the results
            that are kept and written are the last one's.
        output: folder; pictures go to ``pictures/`` in it.
        batch_size: images that go through a model together.
        top_k: classes of a classifier that are drawn and written.
        pictures: draw.

    Attributes:
        results: (name of the image, Instances or Classification) of every image read.
        unreadable: name -> reason of every other.
        example: pixels of the first image, for an export.
    """

    def __init__(
        self,
        models: Mapping[str, Predictor],
        output: Path,
        *,
        batch_size: int = 1,
        top_k: int = 5,
        pictures: bool = True,
    ) -> None:
        self.models = dict(models)
        self.predictor = list(self.models.values())[-1]
        self.output = output
        self.batch_size = batch_size
        self.top_k = top_k
        self.pictures = pictures
        self.results: list[tuple[str, object]] = []
        self.unreadable: dict[str, str] = {}
        self.example: NDArray | None = None

    def run(self, files: Sequence[InputFile]) -> None:
        """Everything: images first, then video after video; progress goes to stderr."""
        self.images([f for f in files if not f.is_video])
        for file in files:
            if file.is_video:
                self.video(file)

    def images(self, files: Sequence[InputFile]) -> None:
        """Predict on images and draw each under its own name."""
        readable = self._readable(tqdm(files, unit="image", disable=not files))
        for name, drawn in self._predict(readable):
            if drawn is None:
                continue
            suffix = Path(name).suffix
            # A suffix is added, not replaced: a.bmp and a.png stay two pictures.
            name = name if suffix.lower() in _PICTURE_SUFFIXES else f"{name}.png"
            _save(self.output / "pictures" / name, drawn)

    def video(self, file: InputFile) -> None:
        """Predict on every frame and draw them into a video of the same frame rate."""
        try:
            video = Video.open(file)
        except UserError as error:
            self.unreadable[file.name] = str(error)
            return
        frames = tqdm(video, unit="frame", total=video.frames or None, desc=file.name)
        path = self.output / "pictures" / Path(file.name).with_suffix(".mp4")
        writer = None
        try:
            for _, drawn in self._predict(frames):
                if drawn is None:
                    continue
                width, height = (side // 2 * 2 for side in drawn.shape[1::-1])  # codecs want even
                if writer is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
                    writer = cv2.VideoWriter(str(path), fourcc, video.fps, (width, height))
                writer.write(cv2.cvtColor(drawn[:height, :width], cv2.COLOR_RGB2BGR))
        finally:
            if writer is not None:
                writer.release()

    def write(self, formats: Sequence[str]) -> list[Path]:
        """Write the results in formats of :mod:`.predict_formats`; the files written."""
        if not self.results:
            return []
        if self.predictor.kind == "classification":
            return [
                CLASSIFICATION_FORMATS[f](self.results, self.top_k, self.output) for f in formats
            ]
        records = [Detections.of(name, found) for name, found in self.results]
        names = self.predictor.class_names
        return [DETECTION_FORMATS[f](records, names, self.output) for f in formats]

    def _readable(self, files: Iterable[InputFile]) -> Iterator[tuple[str, NDArray]]:
        for file in files:
            try:
                pixels = as_rgb(file.path)
                if self.predictor.kind == "classification":
                    self.predictor.prepare(pixels)  # may be too small for the crop
            except UserError as error:
                self.unreadable[file.name] = str(error)
                continue
            yield file.name, pixels

    def _predict(
        self, images: Iterable[tuple[str, NDArray]]
    ) -> Iterator[tuple[str, NDArray | None]]:
        """Name and drawing (None without pictures) of each image."""
        images = iter(images)
        while batch := list(islice(images, _BATCHES * self.batch_size)):
            pixels = [p for _, p in batch]
            if self.example is None:
                self.example = pixels[0]
            of_each = [p(pixels, batch_size=self.batch_size) for p in self.models.values()]
            for (name, image), *found in zip(batch, *of_each):
                self.results.append((name, found[-1]))
                yield name, self._draw(image, found) if self.pictures else None

    def _draw(self, image: NDArray, found: list) -> NDArray:
        drawn = [
            draw_detections_on(image, result, predictor.class_names)
            if predictor.kind == "detection"
            else draw_classes_under(image, result, self.top_k)
            for predictor, result in zip(self.models.values(), found)
        ]
        return drawn[0] if len(drawn) == 1 else side_by_side(drawn, list(self.models))


def choose_formats(given: str, kind: str) -> list[str]:
    """Names of formats out of a list with commas; csv where none is given.

    Raises:
        UserError: a name that is none, of this kind of model.
    """
    known = DETECTION_FORMATS if kind == "detection" else CLASSIFICATION_FORMATS
    wanted = list(dict.fromkeys(x.strip().lower() for x in given.split(",") if x.strip()))
    for name in wanted:
        if name not in known:
            raise UserError(f"--format: {name!r} is none of {', '.join(known)} (for {kind})")
    return wanted or ["csv"]


def _save(path: Path, pixels: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")
