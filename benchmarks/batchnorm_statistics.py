"""What adaptive BatchNorm's statistics do to a model, by the images they are taken of.

    python -m benchmarks.batchnorm_statistics --config-file mini/source.yaml \\
        --target mini_openmoji_train --test mini_openmoji_val mini_photo_test

Scores the config's weights with the statistics they came with, and with those of the source and of
the target, each in weak and in strong views (``INPUT.VIEWS``). The difference between the source's
rows is what the views do; only the difference between source and target is the domain's.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from operator import itemgetter
from typing import TYPE_CHECKING

from metaalign_det.cli.quiet import silence_third_party
from metaalign_det.errors import UserError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

_KEYS = {  # of a training batch, by domain and view
    (domain, view): f"{domain}_strong" if view == "strong" else domain
    for domain in ("source", "target")
    for view in ("weak", "strong")
}


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="MODEL.WEIGHTS are looked at")
    add("--target", metavar="NAME", help="data set; default: DATASETS.TARGET")
    add("--test", nargs="+", metavar="NAME", help="data sets; default: DATASETS.TEST")
    add("--batches", type=int, default=50, metavar="N", help="of SOLVER.IMS_PER_BATCH images")
    return parser


def measure(cfg: CfgNode, batches: int) -> list[tuple[str, dict[str, float]]]:
    """Scores by data set, the first metric of each, for every source of statistics.

    Args:
        cfg: with ``DATASETS.TARGET`` and a model that has trained BatchNorm.
        batches: that statistics are taken of.

    Raises:
        UserError: the model has no BatchNorm whose statistics could be replaced.
    """
    from metaalign_det.adaptation.adaptive_bn import adapted_batchnorm
    from metaalign_det.engine.trainer import AdaptationTrainer

    def score(statistics: AbstractContextManager[int | None]) -> dict[str, float]:
        with statistics as layers:
            if layers == 0:
                raise UserError("the model has no BatchNorm with running statistics")
            found = AdaptationTrainer.test(cfg, trainer.model)
        if len(cfg.DATASETS.TEST) == 1:
            found = {cfg.DATASETS.TEST[0]: found}
        return {name: _first(scores) for name, scores in found.items()}

    trainer = AdaptationTrainer(cfg)
    trainer.resume_or_load(resume=False)
    rows = [("as they came", score(nullcontext()))]
    for (domain, view), key in _KEYS.items():
        views = cfg.clone()
        views.defrost()
        views.INPUT.VIEWS.SOURCE = views.INPUT.VIEWS.TARGET = view
        images = map(itemgetter(key), trainer.build_train_loader(views))
        model = trainer.model
        of_these = adapted_batchnorm(model, images, batches, model.backbone_features)
        rows.append((f"{domain}, {view} views", score(of_these)))
    return rows


def _first(scores: dict) -> float:
    """The first number of nested scores: the task's main metric."""
    value = next(iter(scores.values()))
    return _first(value) if isinstance(value, dict) else float(value)


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Loggers, and what is below them, say warnings alone meanwhile."""
    before = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.WARNING)
        yield
    finally:
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0, or 2 for a mistake in the command."""
    silence_third_party()  # before Detectron2 is imported
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    args = argument_parser().parse_args(argv[:cut])
    try:
        _print(args, argv[cut + 1 :])
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _print(args: argparse.Namespace, opts: Sequence[str]) -> None:
    import torch

    from metaalign_det.config import load_cfg, merge_opts
    from metaalign_det.data import register_all
    from metaalign_det.reports.table import format_table

    if args.batches < 1:
        raise UserError(f"--batches must be positive, not {args.batches}")
    cfg = load_cfg(args.config_file)
    merge_opts(cfg, list(opts), "the command line")
    cfg.DATASETS.TARGET = (args.target,) if args.target else cfg.DATASETS.TARGET
    cfg.DATASETS.TEST = tuple(args.test) if args.test else cfg.DATASETS.TEST
    if not cfg.DATASETS.TARGET or not cfg.DATASETS.TEST:
        raise UserError("name data with --target and --test, or a config that has both")
    if not torch.cuda.is_available():
        cfg.MODEL.DEVICE = "cpu"
    register_all(cfg)
    with _quiet("detectron2", "fvcore"):
        rows = [{"statistics of": name, **scores} for name, scores in measure(cfg, args.batches)]
    print(format_table(rows, ["statistics of", *cfg.DATASETS.TEST], style="markdown"))


if __name__ == "__main__":
    sys.exit(main())
