"""Use a trained model: draw what it finds on your images, and write it in common formats.

metaalign-det predict output/swda_meta drawings/ --format coco,csv
metaalign-det predict output/swda_meta/model_selected.pth "scans/**/*.png" clip.mp4 --threshold 0.7
metaalign-det predict output/adapted drawings/ --compare output/source   # side by side
metaalign-det predict output/mini_digits/dann digits/ --top-k 3          # a classifier
metaalign-det predict output/swda_meta drawings/ --export onnx           # for other programs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import UserError
from ..explain.export import EXPORTS, export
from ..explain.predict import Predictor, as_rgb
from ..explain.predict_draw import draw_classes_under, draw_detections_on, side_by_side
from ..explain.predict_formats import CLASSIFICATION_FORMATS, DETECTION_FORMATS, Detections
from ..explain.predict_inputs import InputFile, Video, find_inputs
from ..files import write_json

_PICTURE_SUFFIXES = {".jpg", ".jpeg", ".png"}  # other images are drawn as PNG
_LISTED = 10  # unreadable images named on the terminal; all are in summary.json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="CHECKPOINT_OR_RUN", help="model_*.pth, or the folder of a training")
    add("images", nargs="+", metavar="IMAGES", help="images, folders, globs, videos")
    add("--output", default="predictions", metavar="FOLDER", help="default: %(default)s")
    add("--overwrite", action="store_true", help="write into a folder that is not empty")
    add(
        "--format",
        default="",
        metavar="NAMES",
        help="also write coco,voc,yolo,csv (a detector), csv,json (a classifier); default: csv",
    )
    add("--no-pictures", action="store_true", help="draw nothing")
    add("--threshold", type=float, metavar="P", help="lowest score of a detection; default: 0.5")
    add("--classes", nargs="+", default=[], metavar="NAME", help="of a detector; default: all")
    add("--top-k", type=int, default=5, metavar="K", help="classes a classifier names (5)")
    add("--batch-size", type=int, default=1, metavar="N", help="images at a time; default: 1")
    add("--device", metavar="NAME", help="cpu, cuda, ...; default: what is there")
    add("--compare", metavar="OTHER", help="another model, drawn to the left of this one")
    add("--export", choices=EXPORTS, help="also write the model for other programs")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0, also where some images could not be read (they are listed); 1 if none could."""
    if args.batch_size < 1 or args.top_k < 1:
        raise UserError("--batch-size and --top-k must be >= 1")
    inputs = find_inputs(args.images)
    output = Path(args.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not args.overwrite:
        raise UserError(
            f"--output: {output} is there and not empty: choose another folder, or --overwrite"
        )
    predictor = _load(args, args.model)
    formats = _formats(args.format, predictor.kind)
    models = [(_title(args.model), predictor)]
    if args.compare:
        other = _load(args, args.compare)
        if other.kind != predictor.kind:
            raise UserError(f"--compare: {args.compare} is for {other.kind}, {args.model} is not")
        models.insert(0, (_title(args.compare), other))
    output.mkdir(parents=True, exist_ok=True)
    job = _Job(models, args, output)
    job.images([f for f in inputs if not f.is_video])
    for file in (f for f in inputs if f.is_video):
        job.video(file)
    written = job.write(formats)
    if args.export and job.example is not None:
        written.append(export(predictor, job.example, args.export, output))
    _report(job, written, output)
    return 0 if job.results else 1


class _Job:
    """Predicts, draws and remembers, image after image."""

    def __init__(
        self, models: list[tuple[str, Predictor]], args: argparse.Namespace, output: Path
    ) -> None:
        self.models = models
        self.predictor = models[-1][1]
        self.args = args
        self.output = output
        self.results: list[tuple[str, object]] = []
        self.unreadable: dict[str, str] = {}
        self.example: NDArray | None = None

    def images(self, files: list[InputFile]) -> None:
        readable = self._readable(tqdm(files, unit="image", disable=not files))
        for name, drawn in self._predict(readable):
            if drawn is not None:
                path = Path(name)
                suffix = path.suffix if path.suffix.lower() in _PICTURE_SUFFIXES else ".png"
                # An added suffix keeps a.bmp and a.png apart.
                name = name if suffix == path.suffix else name + suffix
                _save(self.output / "pictures" / name, drawn)

    def video(self, file: InputFile) -> None:
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
                size = (drawn.shape[1] // 2 * 2, drawn.shape[0] // 2 * 2)  # codecs want even sides
                if writer is None:
                    path.parent.mkdir(parents=True, exist_ok=True)
                    fourcc = cv2.VideoWriter.fourcc(*"mp4v")
                    writer = cv2.VideoWriter(str(path), fourcc, video.fps, size)
                writer.write(cv2.cvtColor(drawn[: size[1], : size[0]], cv2.COLOR_RGB2BGR))
        finally:
            if writer is not None:
                writer.release()

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
        """Name and drawing (None with --no-pictures) of each image."""
        images = iter(images)
        while batch := [x for _, x in zip(range(4 * self.args.batch_size), images)]:
            pixels = [p for _, p in batch]
            if self.example is None:
                self.example = pixels[0]
            size = self.args.batch_size
            of_each = [p(pixels, batch_size=size) for _, p in self.models]
            for (name, image), *found in zip(batch, *of_each):
                self.results.append((name, found[-1]))
                yield name, None if self.args.no_pictures else self._draw(image, found)

    def _draw(self, image: NDArray, found: list) -> NDArray:
        drawn = [
            draw_detections_on(image, result, predictor.class_names)
            if predictor.kind == "detection"
            else draw_classes_under(image, result, self.args.top_k)
            for (_, predictor), result in zip(self.models, found)
        ]
        return drawn[0] if len(drawn) == 1 else side_by_side(drawn, [t for t, _ in self.models])

    def write(self, formats: list[str]) -> list[Path]:
        if not self.results:
            return []
        if self.predictor.kind == "classification":
            return [
                CLASSIFICATION_FORMATS[f](self.results, self.args.top_k, self.output)
                for f in formats
            ]
        records = [Detections.of(name, found) for name, found in self.results]
        names = self.predictor.class_names
        return [DETECTION_FORMATS[f](records, names, self.output) for f in formats]


def _load(args: argparse.Namespace, path: str) -> Predictor:
    threshold = 0.5 if args.threshold is None else args.threshold
    return Predictor.from_checkpoint(
        path, device=args.device, threshold=threshold, classes=args.classes
    )


def _formats(given: str, kind: str) -> list[str]:
    known = DETECTION_FORMATS if kind == "detection" else CLASSIFICATION_FORMATS
    wanted = list(dict.fromkeys(x.strip().lower() for x in given.split(",") if x.strip()))
    for name in wanted:
        if name not in known:
            raise UserError(f"--format: {name!r} is none of {', '.join(known)} (for {kind})")
    return wanted or ["csv"]


def _title(path: str) -> str:
    return str(Path(path).parent if Path(path).suffix == ".pth" else Path(path))


def _save(path: Path, pixels: NDArray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{path} cannot be written")


def _report(job: _Job, written: list[Path], output: Path) -> None:
    args = job.args
    write_json(
        output / "summary.json",
        {
            "model": args.model,
            "compared_with": args.compare,
            "classes": job.predictor.class_names,
            "threshold": 0.5 if args.threshold is None else args.threshold,
            "images": len(job.results),
            "unreadable": job.unreadable,
            "files": [p.relative_to(output).as_posix() for p in written],
        },
    )
    files = ["pictures/"] * (not args.no_pictures) + [p.name for p in written]
    print(f"{len(job.results)} images; written to {output}: {', '.join([*files, 'summary.json'])}")
    if job.unreadable:
        print(f"{len(job.unreadable)} could not be read and were left out:", file=sys.stderr)
        for reason in list(job.unreadable.values())[:_LISTED]:
            print(f"  {reason}", file=sys.stderr)
        if len(job.unreadable) > _LISTED:
            print("  ... all of them are in summary.json", file=sys.stderr)
