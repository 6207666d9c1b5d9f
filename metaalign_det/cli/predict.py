"""Use a trained model on your images: draw what it finds, and write it in common formats.

metaalign-det predict output/swda_meta drawings/ --format coco,csv
metaalign-det predict output/swda_meta/model_selected.pth "scans/**/*.png" clip.mp4 --threshold 0.7
metaalign-det predict output/adapted drawings/ --compare output/source   # side by side
metaalign-det predict output/source scans/ --statistics-of scans/        # adaptive BatchNorm
metaalign-det predict output/mini_digits/dann digits/ --top-k 3          # a classifier
metaalign-det predict output/swda_meta drawings/ --export onnx           # for other programs
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError

if TYPE_CHECKING:
    from ..explain.predict import Predictor
    from ..explain.predict_job import PredictJob
    from ..explain.predict_statistics import StatisticsOf

_THRESHOLD = 0.5
_LISTED = 10  # unreadable images named on the terminal; all are in summary.json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``metaalign-det predict``."""
    add = parser.add_argument
    add("model", metavar="CHECKPOINT_OR_RUN", help="model_*.pth, or the folder of a training")
    add("images", nargs="+", metavar="IMAGES", help="images, folders, globs, videos")
    add("--output", default="predictions", metavar="FOLDER", help="default: %(default)s")
    add("--overwrite", action="store_true", help="write into a folder that is not empty")
    add(
        "--format",
        default="",
        metavar="NAMES",
        help="any of coco,voc,yolo,csv (a detector) or csv,json (a classifier); default: csv",
    )
    add("--no-pictures", action="store_true", help="draw nothing")
    add(
        "--threshold",
        type=float,
        default=_THRESHOLD,
        metavar="P",
        help="lowest score of a detection; default: %(default)s",
    )
    add("--classes", nargs="+", default=[], metavar="NAME", help="of a detector; default: all")
    add("--top-k", type=int, default=5, metavar="K", help="classes a classifier names (5)")
    add("--batch-size", type=int, default=1, metavar="N", help="images at a time; default: 1")
    add("--teacher", action="store_true", help="use the averaged weights of EMA.ENABLED")
    add("--device", metavar="NAME", help="cpu, cuda, ...; default: what is there")
    add(
        "--statistics-of",
        nargs="+",
        default=[],
        metavar="IMAGES",
        help="replace BatchNorm's statistics by those of these images first (not of OTHER)",
    )
    add("--compare", metavar="OTHER", help="another model, drawn to the left of this one")
    add("--export", choices=("onnx", "torchscript"), help="also write the model itself")


def run(args: argparse.Namespace) -> int:
    """Exit code: 0, also where some images could not be read (they are listed); 1 if none could."""
    from ..explain.export import export
    from ..explain.predict_inputs import find_inputs
    from ..explain.predict_job import PredictJob, choose_formats
    from ..explain.predict_statistics import take_statistics

    if args.batch_size < 1 or args.top_k < 1:
        raise UserError("--batch-size and --top-k must be >= 1")
    files = find_inputs(args.images)
    of = find_inputs(args.statistics_of)
    output = Path(args.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())) and not args.overwrite:
        raise UserError(
            f"--output: {output} is there and not empty: choose another folder, or --overwrite"
        )
    models = _load_models(args)
    kind = next(iter(models.values())).kind
    formats = choose_formats(args.format, kind)
    job = PredictJob(
        models,
        output,
        batch_size=args.batch_size,
        top_k=args.top_k,
        pictures=not args.no_pictures,
    )
    statistics = take_statistics(job.predictor, of) if of else None
    output.mkdir(parents=True, exist_ok=True)
    job.run(files)
    written = job.write(formats)
    if args.export and job.example is not None:
        written.append(export(job.predictor, job.example, args.export, output))
    _report(args, job, written, statistics)
    return 0 if job.results else 1


def _load_models(args: argparse.Namespace) -> dict[str, Predictor]:
    from ..explain.predict import Predictor

    models = {}
    for path in filter(None, (args.compare, args.model)):
        title = str(Path(path).parent if Path(path).suffix == ".pth" else Path(path))
        if title in models:
            adapted = ", statistics of the images" if args.statistics_of else ", again"
            title = path if path not in models else f"{path}{adapted}"
        models[title] = Predictor.from_checkpoint(
            path,
            device=args.device,
            threshold=args.threshold,
            classes=args.classes,
            teacher=args.teacher,
        )
    kinds = {p.kind for p in models.values()}
    if len(kinds) > 1:
        raise UserError(f"--compare: {args.compare} and {args.model} are not of one kind")
    return models


def _report(
    args: argparse.Namespace,
    job: PredictJob,
    written: list[Path],
    statistics: StatisticsOf | None,
) -> None:
    from ..files import printable, write_json

    output = Path(args.output)
    write_json(
        output / "summary.json",
        {
            "model": args.model,
            "compared_with": args.compare,
            "statistics_of": asdict(statistics) if statistics else None,
            "classes": job.predictor.class_names,
            "threshold": args.threshold,
            "images": len(job.results),
            "unreadable": job.unreadable,
            "files": [p.relative_to(output).as_posix() for p in written],
        },
    )
    if statistics:
        print(statistics)
    files = ["pictures/"] * job.pictures + [p.name for p in written]
    where = f"{printable(str(output))}: {', '.join([*files, 'summary.json'])}"
    print(f"{len(job.results)} images; written to {where}")
    if job.unreadable:
        print(f"{len(job.unreadable)} could not be read and were left out:", file=sys.stderr)
        for reason in list(job.unreadable.values())[:_LISTED]:
            print(f"  {reason}", file=sys.stderr)
        if len(job.unreadable) > _LISTED:
            print("  ... all of them are in summary.json", file=sys.stderr)
