"""Write a config for your own two folders: labelled images, and images to adapt to.

metaalign-det init photos/ drawings/                      # writes photos2drawings.yaml
metaalign-det init photos/ drawings/ --output my.yaml --model resnet50
metaalign-det init photos/ drawings/ --test labelled_drawings/   # scores on a few labelled ones
metaalign-det init coco/instances_train.json scans/
metaalign-det init photos/ drawings/ --class-map automobile=car --class-map kitten=cat

SOURCE is labelled: VOC, COCO, YOLO, Cityscapes, KITTI (boxes), or a folder per class. TARGET is
any folder of images; if it is labelled too, its labels are used for scores and nothing else.
Formats, classes and splits are found out; the schedule follows from the number of images, the batch
from the GPU.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..errors import UserError

_NAMED = 5  # images that cannot be read named on the terminal; check-data names all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two folders, and where to write."""
    add = parser.add_argument
    add("source", metavar="SOURCE", help="folder of labelled images (or its JSON or data.yaml)")
    add("target", metavar="TARGET", help="folder of images to adapt to")
    add("--test", metavar="FOLDER", help="labelled images like the target's, for scores alone")
    mapped = "a name in the labels and the class it becomes: renames, merges; repeatable"
    add("--class-map", metavar="NAME=CLASS", action="append", default=[], help=mapped)
    add("--output", metavar="FILE", help="default: <source>2<target>.yaml, here")
    add("--model", default="auto", help="resnet101, resnet50 or mini (small, for a CPU); default: "
        "auto, by the GPU and the kind of labels")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Write the file and print what to type next; 0."""
    import shlex
    import sys

    from ..config import load_cfg
    from ..data.catalog.reading import read_once
    from ..data.doctor.detect import detect
    from ..files import write_text
    from .init_plan import plan_data
    from .init_text import MINI_LONGEST, MINI_SIDE, config_text
    from .init_training import device_memory, plan_training

    class_map = _class_map(args.class_map)
    source, target = detect(args.source), detect(args.target)
    test = detect(args.test) if args.test else None
    path = Path(os.path.expanduser(args.output or f"{source.root.name}2{target.root.name}.yaml"))
    _check_utf8(source.root, target.root, *([test.root] if test else []), path)
    if path.exists():
        raise UserError(f"{path} exists already: choose another --output, or remove it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.absolute().parent}")
    with read_once():
        data = plan_data(source, target, test, class_map)
    training = plan_training(data, args.model, device_memory(load_cfg()), MINI_SIDE, MINI_LONGEST)
    words = ["metaalign-det", "init", args.source, args.target]
    words += ["--test", args.test] if args.test else []
    words += [word for pair in args.class_map for word in ("--class-map", pair)]
    text = config_text(data, training, f"./output/{path.stem}", shlex.join(words))
    _check_utf8(*text.splitlines())  # names of classes are those of folders
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from error
    name = shlex.quote(str(path))
    out = sys.stdout.write
    for role, found, images in (
        ("source", source, data.images[data.train]),
        ("target", target, data.images[data.target]),
    ):
        out(f"{role}: {found.root}: {found.format}, {images} images ({found.why})\n")
    if data.unreadable:
        out(f"{len(data.unreadable)} images cannot be read; training goes on without them:\n")
        out("".join(f"  {error.file} {error.reason}\n" for error in data.unreadable[:_NAMED]))
    for role, key in (("source", "NEGATIVES"), ("target", "SCORES")):
        if key in data.remarks:
            out(f"{role}: {data.remarks[key]}\n")
    out(f"{data.kind}, {len(data.classes)} classes: {', '.join(data.classes)}\n")
    if "CLASSES" in data.remarks:
        out(f"left out, since not in both: {data.remarks['CLASSES']}\n")
    out(f"model {training.model}; {training.reason}\n\nwritten: {path}. Next:\n")
    out(f"  metaalign-det check-data --config-file {name}\n")
    out(f"  metaalign-det train --config-file {name}\n")
    unseen = shlex.quote(str(target.images or args.target))
    out(f"  metaalign-det predict output/{shlex.quote(path.stem)} {unseen}\n")
    return 0


def _class_map(pairs: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, becomes = (part.strip() for part in pair.partition("="))
        if not name or not equals or not becomes:
            raise UserError(
                f"--class-map {pair}: give a name in the labels and the class that it becomes, "
                "such as automobile=car"
            )
        if found.setdefault(name, becomes) != becomes:
            raise UserError(f"--class-map names {name!r} twice, as {found[name]} and {becomes}")
    return found


def _check_utf8(*names: object) -> None:
    """A config is UTF-8 text, which names of folders and files need not be.

    Raises:
        UserError: one of them is not.
    """
    from ..files import printable

    for name in map(str, names):
        if printable(name) != name:
            raise UserError(
                f"{printable(name).strip()}: this name is not UTF-8, and a config cannot hold it; "
                "rename the folder or file"
            )
