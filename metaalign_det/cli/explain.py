"""Look into trained models: where they attend, how features lie, whether gradients agree.

metaalign-det explain attention output/demo              # needs `make demo`, or runs of yours
metaalign-det explain features output/demo
metaalign-det explain gradients output/demo

Every command takes run directories; a folder that holds several, such as output/demo, stands for
all of them. It reads their config.yaml and checkpoints, and writes pictures with their numbers as
JSON and Markdown. Nothing is overwritten unless --overwrite is given.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable

from .quiet import warnings_alone

INTERRUPTED = "what was finished is in --output; the same command with --overwrite starts again"

_ATTENTION = """\
Where the task and the domain discriminators look, as pictures and as a number.

Reads the runs' config.yaml and checkpoints and the images of --data. Writes attention.jpg (maps
over some images), attention_focus.png (for detectors: attention inside ground-truth boxes over
their area, 1 = chance, with a 95 % interval over images), attention.json and attention.md. Maps
are Grad-CAM, LayerCAM or the norm of the objective's gradient; the numbers are given for all three.

example:
  metaalign-det explain attention output/demo
  metaalign-det explain attention output/demo --data my_photos/ --domain target
"""

_FEATURES = """\
Whether the domains lie together and the classes apart in feature space, drawn and measured.

Reads the runs' config.yaml and checkpoints, and images of the source and the target with their
labels. Features are those of whole images (pooled) and of ground-truth objects (detectors). Writes
image_pca.png, image_tsne.png, object_pca.png and object_tsne.png (all runs in one embedding),
separation.png, features.json and features.md: domain accuracy of a linear classifier, proxy
A-distance, MMD, silhouette of the classes, nearest class, each beside its level under chance.

example:
  metaalign-det explain features output/demo
  metaalign-det explain features SW-DA=output/a SW-DA+MetaAlign=output/b --images 300
"""

_GRADIENTS = """\
Whether the gradients of task and alignment agree, stage by stage and along the alignment step.

Reads the runs' config.yaml, checkpoints and training data (source with labels, target without).
Writes gradients.png, gradients.json and gradients.md, and with --over-training (every checkpoint
of a run) gradients_training.png: cosine and inner product of both gradients, at theta and at
theta - alpha g, norms of both halves of the gradient of their inner product, with 95 % intervals
over batches. Runs without alignment are left out.

example:
  metaalign-det explain gradients output/demo
  metaalign-det explain gradients output/demo --over-training --batches 6
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The commands of ``metaalign-det explain`` with their arguments."""
    commands = parser.add_subparsers(dest="explain", required=True, metavar="WHAT")
    for name, text, add_own in (
        ("attention", _ATTENTION, _add_attention),
        ("features", _FEATURES, _add_features),
        ("gradients", _GRADIENTS, _add_gradients),
    ):
        one = commands.add_parser(
            name,
            help=text.partition("\n")[0],
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        add = one.add_argument
        add("runs", nargs="+", metavar="RUN", help="run directory, or LABEL=DIRECTORY to name it")
        add("--output", metavar="FOLDER", default=f"output/explain/{name}",
            help="default: %(default)s")  # fmt: skip
        add("--overwrite", action="store_true", help="replace files of an earlier call in --output")
        add("--seed", type=int, default=0, help="of all that is drawn at random (default: 0)")
        add_own(add)


def _add_attention(add: Callable) -> None:
    add("--data", metavar="NAME|FOLDER|FILE", help="default: the set of DATASETS.TEST named most "
        "like DATASETS.TARGET")  # fmt: skip
    add("--domain", choices=("source", "target"), help="that the images are of (default: target, "
        "unless --data is a source data set of the run)")  # fmt: skip
    add("--method", choices=("gradcam", "layercam", "gradient"), default="layercam",
        help="drawn (default: layercam)")  # fmt: skip
    add("--objectives", nargs="+", metavar="NAME", help="drawn, e.g. task global (default: all)")
    add("--layer", default="", metavar="MODULE", help="look at this module's output, e.g. "
        "backbone.res3 (default: the feature maps that each objective reads)")  # fmt: skip
    add("--images", type=int, default=200, metavar="N", help="images measured, drawn at random; "
        "0 = all (default: 200)")  # fmt: skip
    add("--show", type=int, default=6, metavar="N", help="of them drawn (default: 6)")
    add("--checkpoint", default="", metavar="NAME", help="file in the runs (default: the last)")


def _add_features(add: Callable) -> None:
    add("--source", metavar="NAME|FOLDER", help="default: the set of DATASETS.TEST named most "
        "like DATASETS.TRAIN, or that one itself")  # fmt: skip
    add("--target", metavar="NAME|FOLDER", help="default: the set of DATASETS.TEST named most "
        "like DATASETS.TARGET")  # fmt: skip
    add("--images", type=int, default=150, metavar="N", help="of each domain, drawn at random; "
        "0 = all (default: 150)")  # fmt: skip
    add("--points", type=int, default=250, metavar="N", help="most features of a domain that are "
        "embedded and measured (default: 250)")  # fmt: skip
    add("--checkpoint", default="", metavar="NAME", help="file in the runs (default: the last)")


def _add_gradients(add: Callable) -> None:
    add("--batches", type=int, default=12, metavar="N", help="training batches (default: 12)")
    add("--alphas", type=float, nargs="+", default=(-0.3, -0.1, -0.03, 0.03, 0.1, 0.3),
        metavar="A", help="lengths of the step along -g; negative ones go the other way (default: "
        "-0.3 -0.1 -0.03 0.03 0.1 0.3); RUNs stand before this option")  # fmt: skip
    add("--over-training", action="store_true", help="every checkpoint of each run, not the last "
        "alone")  # fmt: skip
    add("--first-order", dest="second_order", action="store_false", help="leave out both halves, "
        "which take second derivatives")  # fmt: skip


def show_progress(items: Iterable, what: str) -> Iterable:
    """A bar with the time left on stderr."""
    from tqdm import tqdm

    return tqdm(items, desc=what, file=sys.stderr, leave=False, dynamic_ncols=True)


def run(args: argparse.Namespace) -> int:
    """Carry out the command; returns the exit code."""
    from ..explain.attention_report import attention_report
    from ..explain.features_report import features_report
    from ..explain.gradients_report import gradients_report

    reports: dict[str, Callable] = {
        "attention": attention_report,
        "features": features_report,
        "gradients": gradients_report,
    }
    report = reports[args.explain]
    options = vars(args).copy()
    for name in ("explain", "command"):  # of the parsers
        options.pop(name, None)
    command = options.pop("command_line", "")
    ours = logging.getLogger("metaalign_det.explain")
    handler = logging.StreamHandler(sys.stdout)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        with warnings_alone("detectron2", "fvcore"):
            written = report(**options, progress=show_progress, command=command)
    finally:
        ours.removeHandler(handler)
    print(f"{written.text}\n\nwritten to {written.folder}: {', '.join(written.files)}")
    return 0
