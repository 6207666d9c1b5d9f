"""Write a report on finished runs: which is better on the target, by how much, and what is wrong.

metaalign-det report output/demo                         # every run below a folder
metaalign-det report output/mini/source output/mini/swda --output output/mini/report.html
metaalign-det report "before=output/a" "after=output/b" --baseline before

Reads what the runs have left (config.yaml, metrics.json, log.txt, inference/, selection.json) and
the test images, where they are here; loads no model. Runs that differ only in SEED are repetitions
of one setting. Writes one HTML file that needs no network, and the same as .md and .json beside it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from ..errors import UserError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "runs",
        nargs="+",
        metavar="RUN",
        help="OUTPUT_DIR of a run, LABEL=OUTPUT_DIR, or a folder above several runs",
    )
    parser.add_argument(
        "--output", metavar="FILE", help="default: report.html in the folder that all RUNs are in"
    )
    parser.add_argument("--title", default="", metavar="TEXT", help="of the report")
    parser.add_argument("--baseline", default="", metavar="LABEL", help="that others are compared "
        "with; default: the first")  # fmt: skip
    parser.add_argument("--metric", default="", metavar="NAME", help="e.g. voc/AP50_area; default: "
        "AP50_11pt or accuracy")  # fmt: skip
    told = "test set; default: told by its name"
    parser.add_argument("--target", default="", metavar="NAME", help=told)
    parser.add_argument("--source", default="", metavar="NAME", help=told)


def run(args: argparse.Namespace) -> int:
    """Write the report and say where it is."""
    # Imported here: --help answers without numpy, OpenCV and Detectron2.
    from ..reports.run_report import write_report

    folders = read_labels(args.runs)
    output = args.output or default_output([folder for _, folder in folders])
    path = write_report(
        folders,
        output,
        title=args.title,
        baseline=args.baseline,
        metric=args.metric,
        target=args.target,
        source=args.source,
    )
    print(f"report      {path} (and .md, .json)")
    return 0


def read_labels(runs: Sequence[str]) -> list[tuple[str, str]]:
    """``LABEL=FOLDER`` as (label, folder), and a plain folder without a label.

    Raises:
        UserError: a label, or a folder, that is empty.
    """
    pairs = []
    for run in runs:
        label, equals, folder = run.partition("=")
        if not equals or os.path.isdir(run):  # a folder may have = in its name
            label, folder = "", run
        elif not label or not folder:
            raise UserError(f"{run}: give a folder, or LABEL=FOLDER")
        pairs.append((label, folder))
    return pairs


def default_output(folders: Sequence[str]) -> str:
    """``report.html`` in the folder itself, or in the one that all of several are in.

    Raises:
        UserError: they have none in common but the root.
    """
    common = os.path.commonpath([os.path.abspath(folder) for folder in folders])
    if common == os.path.dirname(common):
        raise UserError("the runs have no folder in common: say where to write with --output FILE")
    return os.path.join(common, "report.html")
