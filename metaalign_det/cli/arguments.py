"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import UserError


class _Pairs(argparse.Action):
    """``KEY VALUE`` pairs to the end of the command line, with or without ``--`` before them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        opts = list(values or ())
        if opts[:1] == ["--"]:
            opts = opts[1:]
        for key in opts[::2]:
            if key.startswith("--"):
                raise UserError(f"{key}: options stand before the first KEY VALUE pair")
        if len(opts) % 2:
            raise UserError(f"{' '.join(opts)}: config keys and values come in pairs, KEY VALUE")
        setattr(namespace, self.dest, opts)


def add_opts(parser: argparse.ArgumentParser, what: str = "config keys to change") -> None:
    """Add ``opts``: ``KEY VALUE`` pairs that end the command line, a list of strings.

    They stand last; ``--`` in front of them is needed only after an option that takes any number
    of values. An odd number of words, and an option behind the first pair, are a
    :class:`UserError` in parsing.
    """
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        action=_Pairs,
        default=[],
        metavar="KEY VALUE",
        help=f"{what}, e.g. SOLVER.MAX_ITER 100",
    )
