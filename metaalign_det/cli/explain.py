"""Look into trained models: where they attend, how features lie, whether gradients agree.

Every command takes run directories (a folder that holds several, such as output/demo, stands for
all of them), reads their config.yaml and checkpoints, and writes pictures with their numbers as
JSON and Markdown. Nothing is overwritten unless --overwrite is given.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterable

from tqdm import tqdm

from ..errors import UserError
from . import explain_attention, explain_features, explain_gradients

_COMMANDS = {
    "attention": explain_attention,
    "features": explain_features,
    "gradients": explain_gradients,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands of ``metaalign-det explain`` with their arguments."""
    commands = parser.add_subparsers(dest="explain", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        summary, _, _ = module.__doc__.partition("\n")
        one = commands.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        _add_common(one, name)
        module.add_arguments(one)


def _add_common(parser: argparse.ArgumentParser, name: str) -> None:
    add = parser.add_argument
    add("runs", nargs="+", metavar="RUN", help="run directory, or LABEL=DIRECTORY to name it")
    add("--output", default=f"output/explain/{name}", metavar="FOLDER", help="default: %(default)s")
    add("--overwrite", action="store_true", help="replace files of an earlier call in --output")
    add("--seed", type=int, default=0, help="of all that is drawn at random (default: 0)")


def show_progress(items: Iterable, what: str) -> Iterable:
    """A bar with the time left on stderr."""
    return tqdm(items, desc=what, file=sys.stderr, leave=False, dynamic_ncols=True)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit code."""
    logging.getLogger("detectron2").setLevel(logging.WARNING)
    logging.getLogger("fvcore").setLevel(logging.WARNING)
    args.argv = ["metaalign-det", *sys.argv[1:]]
    return _COMMANDS[args.explain].run(args, show_progress)


def main(argv: list[str] | None = None) -> int:
    """``python -m metaalign_det.cli.explain``; exit codes as of every command."""
    parser = argparse.ArgumentParser(
        prog="metaalign-det explain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(parser)
    try:
        return run(parser.parse_args(argv))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written by halves", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
