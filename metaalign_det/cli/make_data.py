"""Generate the embedded miniature data sets, or draw pictures of what they look like.

metaalign-det make-data                      # Mini VOC->Watercolor, into $DETECTRON2_DATASETS
metaalign-det make-data classification       # Mini Digits
metaalign-det make-data digits               # real digits of three collections
metaalign-det make-data openmoji             # the hard target: OpenMoji, full strength
metaalign-det make-data icons                # from @iconify/json, which npm pack fetches
metaalign-det make-data --sheet mini.png     # a contact sheet with boxes only
metaalign-det make-data --glyphs glyphs.png  # every sprite, held-out ones on grey

Without $DETECTRON2_DATASETS the folder is ./datasets. Trainings on them generate them by
themselves.
"""

from __future__ import annotations

import argparse
import logging
import os

from ..errors import UserError


def _size(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not count.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER")
    return name, int(count)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "what",
        nargs="?",
        choices=["detection", "openmoji", "classification", "digits", "icons"],
        default="detection",
        help="Mini VOC->Watercolor (default), its hard target, Mini Digits, real digits, or "
        "Icons; the last three take --root alone, Icons --package as well",
    )
    add("--root", metavar="FOLDER", help="of all data sets")
    add("--seed", type=int, default=0, help="default: 0")
    add("--strength", type=float, default=0.75, help="of the watercolour, 0 to 1 (default: 0.75)")
    add("--stylization", type=float, default=0.0, help="0 to 0.35 (default: 0)")
    add("--target-sprites", nargs="+", default=["twemoji"], metavar="SET", help="twemoji, openmoji")
    add(
        "--sizes",
        nargs="+",
        type=_size,
        default=[],
        metavar="NAME=NUMBER",
        help="images of a data set, e.g. mini_photo_train=100",
    )
    add("--package", metavar="FILE", help="icons: archive of npm pack, where it is not in --root")
    workers = min(2, os.cpu_count() or 1)
    add("--workers", type=int, default=workers, help=f"processes that draw (default: {workers})")
    add("--sheet", metavar="FILE", help="draw a contact sheet instead (.png, .jpg)")
    add("--no-boxes", action="store_true", help="leave them out of the sheet")
    add("--columns", type=int, default=8, help="images per row of the sheet (default: 8)")
    add("--glyphs", metavar="FILE", help="draw a sheet of all glyphs instead")


def run(args: argparse.Namespace) -> int:
    from ..miniatures.build import ensure_mini_openmoji, ensure_mini_voc2watercolor
    from ..miniatures.digits import ensure_mini_digits
    from ..miniatures.icons import ensure_icons
    from ..miniatures.real_digits import COLLECTIONS, ensure_real_digits

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.sheet or args.glyphs:
        _draw_sheets(args)
    elif args.what == "classification":
        print(ensure_mini_digits(args.root))
    elif args.what == "digits":
        for name in COLLECTIONS:
            print(ensure_real_digits(name, args.root))
    elif args.what == "icons":
        print(ensure_icons(args.root, package=args.package))
    elif args.what == "openmoji":
        print(ensure_mini_openmoji(args.root, seed=args.seed, workers=args.workers))
    else:
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
    return 0


def _draw_sheets(args: argparse.Namespace) -> None:
    from ..miniatures.contact_sheet import contact_sheet, glyph_sheet, save_sheet
    from ..miniatures.sprites import SPRITE_SETS, check_wheels

    if args.columns < 1:
        raise UserError(f"--columns must be at least 1, not {args.columns}")
    check_wheels(SPRITE_SETS)
    if args.sheet:
        sheet = contact_sheet(args.seed, args.columns, boxes=not args.no_boxes)
        print(save_sheet(sheet, args.sheet))
    if args.glyphs:
        print(save_sheet(glyph_sheet(), args.glyphs))
