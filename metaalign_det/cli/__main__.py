"""Unsupervised domain adaptation of detectors and classifiers on Detectron2, with MetaAlign.

metaalign-det demo                                       # a first look, in minutes, no data needed
metaalign-det train --config-file voc2watercolor_swda_meta.yaml
metaalign-det train --help                               # each command says what it takes
"""

from __future__ import annotations

import argparse
import importlib
import shlex
import sys
from collections.abc import Sequence

from .. import __version__
from .errors import exit_code_of
from .quiet import silence_third_party, silenced_children

PROG = "metaalign-det"

#: Subcommand -> its module. To add one, add a line here and a module that offers
#:
#:     a docstring               first line: what it does; then examples. Both are its --help
#:     add_arguments(parser)     its options; arguments.add_opts(parser) adds KEY VALUE pairs
#:     run(args) -> int          does it; 0, or 1 where the work failed. Mistakes of the user raise
#:                               UserError, which ends in one sentence and exit code 2
#:     INTERRUPTED = "..."       optional: what somebody who pressed Ctrl-C should know, unless the
#:                               KeyboardInterrupt says it itself
#:     PARSER_OPTIONS = {...}    optional: arguments of argparse.ArgumentParser
#:
#: Everything slow to import (torch, Detectron2, rooms that import them) is imported inside ``run``,
#: so that ``--help`` answers at once, and without them. ``args.command_line`` is what was typed.
COMMANDS: dict[str, str] = {
    "init": "metaalign_det.cli.init",
    "train": "metaalign_det.cli.train",
    "predict": "metaalign_det.cli.predict",
    "check-data": "metaalign_det.cli.check_data",
    "sweep": "metaalign_det.cli.sweep",
    "demo": "metaalign_det.cli.demo",
    "report": "metaalign_det.cli.report",
    "make-data": "metaalign_det.cli.make_data",
    "explain": "metaalign_det.cli.explain",
    "pack-weights": "metaalign_det.cli.pack_weights",
    "benchmark": "metaalign_det.cli.benchmark",
}


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; importing every command's module, and nothing that is slow."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=raw, allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True
    )
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        text = (module.__doc__ or "").strip()
        command = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=raw,
            allow_abbrev=False,
            **getattr(module, "PARSER_OPTIONS", {}),
        )
        module.add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code.

    0 all is well; 1 the work failed; 2 a mistake in the command, config or data, told in one
    sentence; 130 interrupted.

    Args:
        argv: without the program's name; None = the process's own.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return exit_code_of(lambda: _run(argv))


def _run(argv: Sequence[str]) -> int:
    args = build_parser().parse_args(argv)
    args.command_line = shlex.join([PROG, *argv])
    module = importlib.import_module(COMMANDS[args.command])
    silence_third_party()
    try:
        with silenced_children():
            return module.run(args)
    except KeyboardInterrupt as error:
        raise KeyboardInterrupt(str(error) or getattr(module, "INTERRUPTED", "")) from error


if __name__ == "__main__":
    sys.exit(main())
