"""Measure what a training step costs here: plain, MetaAlign first order and exact. In a clone.

metaalign-det benchmark --preset r50                     # ResNet-50-C4, 256 px
metaalign-det benchmark --preset mini --rounds 20 --output output/benchmark/mini.json
metaalign-det benchmark --help                           # all of its options
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from ..errors import UserError

#: Everything behind the command's name is the benchmark's own, --help too: nothing is an option.
PARSER_OPTIONS = {"prefix_chars": "\0", "add_help": False}

#: Folder of a clone, in which benchmarks/ lies beside the package.
CLONE = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="OPTION")


def run(args: argparse.Namespace) -> int:
    """Run ``benchmarks.step_cost`` in a process of its own; returns its exit code."""
    if not (CLONE / "benchmarks" / "step_cost").is_dir():
        raise UserError(
            "benchmark needs a clone of the repository, which has benchmarks/ beside the package: "
            "the installed package comes without it"
        )
    path = os.pathsep.join(filter(None, [str(CLONE), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "benchmarks.step_cost", *args.rest]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode
