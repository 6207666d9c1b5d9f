"""A folder of images (or a video) through one model, or two side by side: results and pictures."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path

import cv2
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import UserError
from .predict import Predictor
from .predict_draw import draw_classes_under, draw_detections_on, side_by_side
from .predict_folder import PredictionFolder
from .predict_formats import (
    CLASSIFICATION_FORMATS,
    DETECTION_FORMATS,
    Detections,
    names_of,
    write_yolo,
)
from .predict_images import as_rgb
from .predict_inputs import InputFile, Video, require_utf8
from .predict_journal import Journal, Result, state_of_file

_PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}  # other images are drawn as PNG
_BATCHES = 4  # that are read ahead, to find images of one size among them
_NARROW = 32  # pixels of a shorter side of which some backbones leave nothing


class PredictJob:
    """Predicts, draws and remembers, image after image; an unreadable one stops nothing.

    Args:
        models: title -> predictor, all of one kind, in the order they are drawn; the results
            that are kept and written are the last one's.
        output: pictures go to ``pictures/`` in it.
        batch_size: images that go through a model together.
        top_k: classes of a classifier that are drawn and written.
        pictures: draw.
        journal: where to enter what is finished.

    Attributes:
        results: (name of the image, Instances or Classification) of every image read.
        unreadable: name -> reason of every other.
    """

    def __init__(
        self,
        models: Mapping[str, Predictor],
        output: PredictionFolder,
        *,
        batch_size: int = 1,
        top_k: int = 5,
        pictures: bool = True,
        journal: Journal | None = None,
    ) -> None:
        self.models = dict(models)
        self.predictor = list(self.models.values())[-1]
        self.output = output
        self.batch_size = batch_size
        self.top_k = top_k
        self.pictures = pictures
        self.journal = journal
        self.results: list[tuple[str, Result]] = []
        self.unreadable: dict[str, str] = {}
        self._restored: dict[str, Result] = {}
        self._states: dict[str, list | None] = {}
        self._first: NDArray | Path | None = None

    @property
    def example(self) -> NDArray | None:
        """Pixels of the first image, for an export; None where there are no results.

        Raises:
            UserError: it was predicted on by an earlier call, and can no longer be read.
        """
        return None if self._first is None else as_rgb(self._first)

    def restore(self, files: Sequence[InputFile]) -> set[str]:
        """Take over what an interrupted call found on images, as its journal has it.

        Args:
            files: all of this call, images and videos; a video starts again.

        Returns:
            set: names of the drawings that belong to it.
        """
        if self.journal is None:
            return set()
        images = [f for f in files if not f.is_video]
        taken = {f.name for f in images}
        drawings = set()
        for file in images:
            drawing = None
            if self.pictures:
                name = f"pictures/{_picture_name(file.name, taken)}"
                if (drawing := self.output.written_before(name)) is None:
                    continue
            state, names = state_of_file(file.path), self.predictor.class_names
            if (found := self.journal.result_of(file.name, state, names, drawing)) is not None:
                self._restored[file.name] = found
                drawings |= {drawing[0]} if drawing else set()
        return drawings

    def run(self, files: Sequence[InputFile]) -> None:
        """Everything: images first, then video after video; progress goes to stderr."""
        self.images([f for f in files if not f.is_video])
        for file in files:
            if file.is_video:
                self.video(file)

    def images(self, files: Sequence[InputFile]) -> None:
        """Predict on images and draw each under its own name."""
        by_name = {file.name: file for file in files}
        left = [file for file in files if file.name not in self._restored]
        there = len(files) - len(left)
        bar = tqdm(left, unit="image", initial=there, total=len(files), disable=not left)
        with bar:  # an interrupted one ends its line
            for name, drawn in self._predict(self._readable(bar)):
                drawing = None
                if drawn is not None:
                    picture = f"pictures/{_picture_name(name, by_name)}"
                    with self.output.writing(picture) as path:
                        _save(path, drawn)
                    drawing = self.output.written_now(picture)
                if self.journal is not None:
                    result = self.results[-1][1]
                    self.journal.add(name, self._states.pop(name), result, drawing)
        if self._restored:
            found = self._restored | dict(self.results)
            self.results = [(name, found[name]) for name in by_name if name in found]
            self._first = by_name[self.results[0][0]].path

    def video(self, file: InputFile) -> None:
        """Predict on every frame and draw them into a video of the same frame rate."""
        name = f"pictures/{file.stem}.mp4"
        try:
            video = Video.open(file)
            if self.pictures:
                require_utf8(self.output.path / name)
        except UserError as error:
            self.unreadable[file.name] = str(error)
            return
        writer = None
        bar = tqdm(video, unit="frame", total=video.frames or None, desc=file.name)
        with ExitStack() as stack:
            for _, drawn in self._predict(stack.enter_context(bar)):
                if drawn is None:
                    continue
                width, height = (side // 2 * 2 for side in drawn.shape[1::-1])  # codecs want even
                if writer is None:
                    path = stack.enter_context(self.output.writing(name))
                    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
                    writer = cv2.VideoWriter(str(path), fourcc, video.fps, (width, height))
                    stack.callback(writer.release)
                writer.write(cv2.cvtColor(drawn[:height, :width], cv2.COLOR_RGB2BGR))

    def write(self, formats: Sequence[str], *, yolo_scores: bool = False) -> None:
        """Write the results in formats of :mod:`.predict_formats`; nothing where there are none.

        Args:
            formats: their names.
            yolo_scores: see :func:`.predict_formats.write_yolo`.
        """
        if not self.results:
            return
        if self.predictor.kind == "classification":
            for form in formats:
                CLASSIFICATION_FORMATS[form](self.results, self.top_k, self.output)
            return
        records = [Detections.of(name, found) for name, found in self.results]
        writers = {**DETECTION_FORMATS, "yolo": partial(write_yolo, scores=yolo_scores)}
        for form in formats:
            writers[form](records, self.predictor.class_names, self.output)

    def _readable(self, files: Iterable[InputFile]) -> Iterator[tuple[str, NDArray]]:
        for file in files:
            if self.journal is not None:
                self._states[file.name] = state_of_file(file.path)
            try:
                pixels = as_rgb(file.path)
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
            usable = [(*item, inputs) for item in batch if (inputs := self._inputs(*item))]
            of_each = [
                p.run([inputs[i] for *_, inputs in usable], batch_size=self.batch_size)
                for i, p in enumerate(self.models.values())
            ]
            for (name, image, _), *found in zip(usable, *of_each):
                if self._first is None:
                    self._first = image
                self.results.append((name, found[-1]))
                yield name, self._draw(image, found) if self.pictures else None

    def _inputs(self, name: str, pixels: NDArray) -> list[dict] | None:
        """What each model gets of an image; None if one of them cannot use it."""
        inputs = []
        try:
            for predictor in self.models.values():
                inputs.append(predictor.prepare(pixels, name=f"image {name}"))
                _require_wide_enough(predictor, inputs[-1], name)
        except UserError as error:
            self.unreadable[name] = str(error)
            return None
        return inputs

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


def names_to_write(
    files: Sequence[InputFile], formats: Sequence[str], *, pictures: bool = True
) -> Iterator[str]:
    """Every name that a job may write for these files, but labels of a video's frames.

    Args:
        files: images and videos.
        formats: names of formats.
        pictures: whether it draws.
    """
    images = [f.name for f in files if not f.is_video]
    if pictures:
        taken = set(images)
        yield from (f"pictures/{_picture_name(name, taken)}" for name in images)
        yield from (f"pictures/{f.stem}.mp4" for f in files if f.is_video)
    for form in formats:
        yield from names_of(form, images)


def _require_wide_enough(predictor: Predictor, given: dict, name: str) -> None:
    """Raise a UserError where a model cannot run on so narrow an image, by trying it."""
    height, width = given["image"].shape[1:]
    if min(height, width) >= _NARROW:
        return
    try:
        predictor.run([given])
    except RuntimeError as error:  # poolings of VGG-16 or of digits have nothing left
        what = f"image {name}, {given['width']}x{given['height']} pixels"
        if predictor.kind == "classification":
            raise UserError(f"{what}: it is too small for the model: enlarge it") from error
        raise UserError(
            f"{what}: resized to {width}x{height}, it is too narrow for the model: cut it into "
            "pieces"
        ) from error


def _picture_name(name: str, taken: Collection[str]) -> str:
    # A suffix is added, not replaced: a.bmp and a.png stay two pictures, as does a.bmp.png.
    if Path(name).suffix.lower() in _PICTURE_SUFFIXES:
        return name
    name += ".png"
    while name in taken:
        name += ".png"
    return name


def _save(path: Path, pixels: NDArray) -> None:
    # Not imwrite, which crashes on a name that is not UTF-8.
    done, encoded = cv2.imencode(path.suffix.lower(), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"{path} cannot be written")
    path.write_bytes(encoded.tobytes())
