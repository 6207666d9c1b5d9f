"""Generate the Mini VOC->Watercolor data set, or draw pictures of what it looks like.

python -m metaalign_det.cli.make_mini                      # into $DETECTRON2_DATASETS or ./datasets
python -m metaalign_det.cli.make_mini --sheet mini.png     # a contact sheet with boxes only
python -m metaalign_det.cli.make_mini --glyphs glyphs.png  # every sprite, held-out ones on grey
"""

from __future__ import annotations

import argparse
import logging
import os
import sys

from ..errors import UserError
from ..miniatures.build import ensure_mini_voc2watercolor
from ..miniatures.contact_sheet import contact_sheet, glyph_sheet, save_sheet
from ..miniatures.splits import SPLITS
from ..miniatures.sprites import SPRITE_SETS, check_wheels


def _size(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER")
    return name, int(count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", help="folder of all data sets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strength", type=float, default=0.75, help="of the watercolour, 0 to 1")
    parser.add_argument("--stylization", type=float, default=0.0, help="0 to 0.35")
    parser.add_argument(
        "--target-sprites", nargs="+", default=["twemoji"], choices=list(SPRITE_SETS)
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        type=_size,
        default=[],
        metavar="NAME=NUMBER",
        help="images per data set: " + ", ".join(f"{s.name}={s.images}" for s in SPLITS),
    )
    parser.add_argument(
        "--workers", type=int, default=min(2, os.cpu_count() or 1), help="processes that draw"
    )
    parser.add_argument("--sheet", metavar="FILE", help="draw a contact sheet instead (.png, .jpg)")
    parser.add_argument("--no-boxes", action="store_true", help="leave them out of the sheet")
    parser.add_argument("--columns", type=int, default=8, help="images per row of the sheet")
    parser.add_argument("--glyphs", metavar="FILE", help="draw a sheet of all glyphs instead")
    return parser


def main(argv: list[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if args.sheet or args.glyphs:
            if args.columns < 1:
                raise UserError(f"--columns must be at least 1, not {args.columns}")
            check_wheels(SPRITE_SETS)
            if args.sheet:
                sheet = contact_sheet(args.seed, args.columns, boxes=not args.no_boxes)
                print(save_sheet(sheet, args.sheet))
            if args.glyphs:
                print(save_sheet(glyph_sheet(), args.glyphs))
            return 0
        folder = ensure_mini_voc2watercolor(
            args.root,
            seed=args.seed,
            strength=args.strength,
            stylization=args.stylization,
            target_sprites=args.target_sprites,
            sizes=dict(args.sizes),
            workers=args.workers,
        )
        print(folder)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
