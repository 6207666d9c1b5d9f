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
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..errors import UserError

if TYPE_CHECKING:
    from ..explain.predict import Predictor
    from ..explain.predict_folder import PredictionFolder
    from ..explain.predict_inputs import InputFile
    from ..explain.predict_job import PredictJob
    from ..explain.predict_statistics import StatisticsOf

INTERRUPTED = "give the same command again"

_THRESHOLD = 0.5
_SUMMARY = "summary.json"
_CONTINUE = "continues where it stopped (a video starts again)"
_LISTED = 10  # unreadable images named on the terminal; all are in summary.json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``metaalign-det predict``."""
    add = parser.add_argument
    add("model", metavar="CHECKPOINT_OR_RUN", help="model_*.pth, or the folder of a training")
    add("images", nargs="+", metavar="IMAGES", help="images, folders, globs, videos")
    add("--output", default="predictions", metavar="FOLDER", help="default: %(default)s")
    add(
        "--overwrite",
        action="store_true",
        help="write into a folder that is not empty; removes what an earlier predict wrote there",
    )
    add(
        "--format",
        default="",
        metavar="NAMES",
        help="any of coco,voc,yolo,csv (a detector) or csv,json (a classifier); default: csv",
    )
    add(
        "--yolo-scores",
        action="store_true",
        help="yolo: append the score to each line, as Ultralytics' save_conf; not for training",
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
    from ..explain.export import require_exporter
    from ..explain.predict_folder import PredictionFolder
    from ..explain.predict_inputs import find_inputs

    if args.batch_size < 1 or args.top_k < 1:
        raise UserError("--batch-size and --top-k must be >= 1")
    if args.export:
        require_exporter(args.export)
    files, of = find_inputs(args.images), find_inputs(args.statistics_of)
    with PredictionFolder.locked(args.output) as output:
        return _predict(args, output, output.without_earlier(files), output.without_earlier(of))


def _predict(
    args: argparse.Namespace, output: PredictionFolder, files: list[InputFile], of: list[InputFile]
) -> int:
    from ..explain.predict_folder import JOURNAL
    from ..explain.predict_job import PredictJob, choose_formats
    from ..explain.predict_journal import Journal
    from ..explain.predict_statistics import take_statistics

    journal = Journal(output.path / JOURNAL, _settings(args, of))
    continues = journal.is_there and not args.overwrite
    if continues:
        journal.require_same_settings()
    elif not output.is_empty() and not args.overwrite:
        raise UserError(
            f"--output: {output.path} is there and not empty: choose another folder, or --overwrite"
        )
    models = _load_models(args)
    kind = next(iter(models.values())).kind
    formats = choose_formats(args.format, kind)
    if args.yolo_scores and "yolo" not in formats:
        raise UserError("--yolo-scores is for --format yolo, which is not asked for")
    output.require_replaceable(_names_to_write(args, files, formats))
    job = PredictJob(
        models,
        output,
        batch_size=args.batch_size,
        top_k=args.top_k,
        pictures=not args.no_pictures,
        journal=journal,
    )
    statistics = take_statistics(job.predictor, of) if of else None
    output.clear(keep={JOURNAL, *job.restore(files)} if continues else ())
    with output.writing(JOURNAL) as journal_file:
        journal.begin()
        try:
            job.run(files)
            job.write(formats, yolo_scores=args.yolo_scores)
        except KeyboardInterrupt as error:
            without = "without --overwrite, " if args.overwrite else ""
            raise KeyboardInterrupt(f"{without}the same command {_CONTINUE}") from error
        try:
            _export(args, job)
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt("predictions are complete, the export is not") from error
        finally:  # predictions are complete where a model cannot be exported
            _report(args, job, statistics)
            journal_file.unlink(missing_ok=True)
    return 0 if job.results else 1


def _settings(args: argparse.Namespace, of: list[InputFile]) -> dict[str, Any]:
    """What results and drawings depend on, by the name of its option."""
    from ..explain.predict_checkpoint import find_checkpoint
    from ..explain.predict_journal import state_of_file

    return {
        "version of metaalign_det": __version__,
        "IMAGES": [os.path.abspath(given) for given in args.images],
        "CHECKPOINT_OR_RUN": state_of_file(find_checkpoint(args.model)),
        "--compare": args.compare and state_of_file(find_checkpoint(args.compare)),
        "--statistics-of": [state_of_file(file.path) for file in of],
        "--threshold": args.threshold,
        "--classes": args.classes,
        "--top-k": args.top_k,
        "--teacher": args.teacher,
        "--no-pictures": args.no_pictures,
    }


def _names_to_write(
    args: argparse.Namespace, files: list[InputFile], formats: list[str]
) -> Iterator[str]:
    from ..explain.export import names_of_export
    from ..explain.predict_folder import JOURNAL
    from ..explain.predict_job import names_to_write

    yield from (_SUMMARY, JOURNAL)
    yield from names_to_write(files, formats, pictures=not args.no_pictures)
    if args.export:
        yield from names_of_export(args.export)


def _export(args: argparse.Namespace, job: PredictJob) -> None:
    from ..explain.export import export, names_of_export

    if args.export and job.example is not None:
        with ExitStack() as stack:
            for name in names_of_export(args.export):
                stack.enter_context(job.output.writing(name))
            export(job.predictor, job.example, args.export, job.output.path)


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


def _report(args: argparse.Namespace, job: PredictJob, statistics: StatisticsOf | None) -> None:
    from ..files import printable, write_json

    told = {
        "model": args.model,
        "compared_with": args.compare,
        "statistics_of": asdict(statistics) if statistics else None,
        "classes": job.predictor.class_names,
        "threshold": args.threshold,
        "images": len(job.results),
        "unreadable": job.unreadable,
        "files": job.output.entries(),
    }
    with job.output.writing(_SUMMARY) as path:
        write_json(path, told)
    if statistics:
        print(statistics)
    where = f"{printable(str(job.output.path))}: {', '.join(job.output.entries())}"
    print(f"{len(job.results)} images; written to {where}")
    if job.unreadable:
        print(f"{len(job.unreadable)} could not be read and were left out:", file=sys.stderr)
        for reason in list(job.unreadable.values())[:_LISTED]:
            print(f"  {reason}", file=sys.stderr)
        if len(job.unreadable) > _LISTED:
            print("  ... all of them are in summary.json", file=sys.stderr)
