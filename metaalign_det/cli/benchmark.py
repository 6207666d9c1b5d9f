"""Measure what a training step costs here, or check a GPU against the CPU. In a clone.

metaalign-det benchmark --preset r50                     # ResNet-50-C4, 256 px
metaalign-det benchmark --preset mini --rounds 20 --output output/benchmark/mini.json
metaalign-det benchmark --help                           # all of its options
metaalign-det benchmark --check-gpu                      # does this GPU compute what the CPU does?
metaalign-det benchmark --check-gpu --help
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

#: The option that this module looks at itself.
CHECK_GPU = "--check-gpu"

#: Folder of a clone, in which benchmarks/ lies beside the package.
CLONE = Path(__file__).resolve().parents[2]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="OPTION")


def run(args: argparse.Namespace) -> int:
    """Run ``benchmarks.step_cost`` or ``benchmarks.gpu_check`` in a process of its own.

    Returns:
        its exit code.

    Raises:
        UserError: outside a clone.
    """
    if not (CLONE / "benchmarks" / "step_cost").is_dir():
        raise UserError(
            "benchmark needs a clone of the repository, which has benchmarks/ beside the package: "
            "the installed package comes without it"
        )
    path = os.pathsep.join(filter(None, [str(CLONE), os.environ.get("PYTHONPATH")]))
    module = "gpu_check" if CHECK_GPU in args.rest else "step_cost"
    rest = [x for x in args.rest if x != CHECK_GPU]
    command = [sys.executable, "-m", f"benchmarks.{module}", *rest]
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": path}).returncode
