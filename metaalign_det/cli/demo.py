"""Adapt a model to the embedded miniature data in minutes: a detector, or a digit classifier.

metaalign-det demo                                   # a detector, into output/demo
metaalign-det demo classification --seed 3           # into output/demo_classification
metaalign-det demo detection --output /tmp/demo --jobs 1 SOLVER.MAX_ITER 50

The same command again shows what is there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .arguments import add_opts

INTERRUPTED = "the same command continues where it stopped"

#: Name -> what its --help says.
DEMOS = {
    "detection": "Adapt a detector from photographs to watercolours. Starts from the source "
    "detector that comes with the package and trains source-only, SW-DA, SW-DA with MetaAlign and "
    "SW-DA with a mean teacher; scores each, the source detector and the same with adaptive "
    "BatchNorm on the target's and the source's test images; writes a table, training curves, a "
    "picture of detections and a report.",
    "classification": "Adapt a digit classifier from drawn digits to digits on photographs. Trains "
    "source-only (scored with adaptive BatchNorm as well), DANN, DANN with MetaAlign and, as the "
    "bound, an oracle on labelled target images; scores each on the source's and the target's test "
    "images.",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    # Options may stand before or behind the name of the demonstration, or without it.
    _add_options(parser, {"output": None, "seed": 0, "jobs": 2})
    demos = parser.add_subparsers(title="demonstrations", dest="demo", metavar="[NAME]")
    for name, text in DEMOS.items():
        demo = demos.add_parser(
            name, help=text.partition(".")[0], description=text, allow_abbrev=False
        )
        _add_options(demo, dict.fromkeys(("output", "seed", "jobs"), argparse.SUPPRESS))
        add_opts(demo, "config keys to change in every training")
    parser.set_defaults(demo="detection", opts=[])


def _add_options(parser: argparse.ArgumentParser, default: dict) -> None:
    add = parser.add_argument
    add(
        "--output",
        type=Path,
        default=default["output"],
        metavar="FOLDER",
        help="of runs, table and pictures (default: output/demo, output/demo_classification)",
    )
    add("--seed", type=int, default=default["seed"], help="of every training (default: 0)")
    add("--jobs", type=int, default=default["jobs"], help="runs at a time (default: 2)")


def run(args: argparse.Namespace) -> int:
    started = time.monotonic()
    if args.demo == "classification":
        from .demo_classification import run_demonstration
    else:
        from .demo_detection import run_demonstration
    default = "output/demo" if args.demo == "detection" else f"output/demo_{args.demo}"
    run_demonstration(
        output=args.output or Path(default),
        seed=args.seed,
        jobs=args.jobs,
        overrides=args.opts,
        command_line=args.command_line,
    )
    print(f"took {time.monotonic() - started:.0f} s")
    return 0
