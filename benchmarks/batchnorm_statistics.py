"""What adaptive BatchNorm's statistics do to a model, by the images they are taken of.

    python -m benchmarks.batchnorm_statistics --config-file mini/source.yaml \\
        --target mini_openmoji_train --test mini_openmoji_val mini_photo_test
    python -m benchmarks.batchnorm_statistics --runs output/study/mini_3600/swda_teacher \\
        --test mini_openmoji_test --of target/weak

Scores a config's weights, or those that runs ended with, with the statistics they came with, and
with those of the source and of the target, each in weak and in strong views (``INPUT.VIEWS``). The
difference between the source's rows is what the views do; only the difference between source and
target is the domain's. Nothing else of a model changes, so that several runs (one per seed) are
compared without the noise of training: mean and standard deviation, and the mean difference to the
statistics they came with, with a 95 % interval. ``--output`` keeps every value, and ``--against``
such a file of another method adds the difference to that, by seed.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

from metaalign_det.cli.quiet import silence_third_party, warnings_alone
from metaalign_det.errors import UserError

if TYPE_CHECKING:
    from detectron2.config import CfgNode

_AS_CAME = "as they came"
_KEYS = {  # of a training batch, by domain and view
    f"{domain}/{view}": f"{domain}_strong" if view == "strong" else domain
    for domain in ("source", "target")
    for view in ("weak", "strong")
}

#: Statistics -> data set -> score.
Scores = dict[str, dict[str, float]]


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config-file", metavar="FILE", help="MODEL.WEIGHTS are looked at")
    what.add_argument("--runs", nargs="+", metavar="RUN", help="run folders, of one method")
    add("--target", metavar="NAME", help="data set; default: DATASETS.TARGET")
    add("--test", nargs="+", metavar="NAME", help="data sets; default: DATASETS.TEST")
    add("--of", nargs="+", choices=_KEYS, default=list(_KEYS), help="default: all four")
    add("--output", metavar="FILE", help="write every value to it, as JSON")
    add("--against", metavar="FILE", help="such a file of another method, to compare with by seed")
    add("--batches", type=int, default=50, metavar="N", help="of SOLVER.IMS_PER_BATCH images")
    return parser


def measure(cfg: CfgNode, batches: int, of: Sequence[str] = tuple(_KEYS)) -> Scores:
    """The first metric of each data set, for every source of statistics.

    Args:
        cfg: with ``DATASETS.TARGET`` and a model that has trained BatchNorm.
        batches: that statistics are taken of.
        of: domain and view, such as "target/weak".

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
    rows = {_AS_CAME: score(nullcontext())}
    for name in of:
        views = cfg.clone()
        views.defrost()
        views.INPUT.VIEWS.SOURCE = views.INPUT.VIEWS.TARGET = name.partition("/")[2]
        images = map(itemgetter(_KEYS[name]), trainer.build_train_loader(views))
        model = trainer.model
        rows[name] = score(adapted_batchnorm(model, images, batches, model.backbone_features))
    return rows


def _first(scores: dict) -> float:
    """The first number of nested scores: the task's main metric."""
    value = next(iter(scores.values()))
    return _first(value) if isinstance(value, dict) else float(value)


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
    from metaalign_det.cli.explain import show_progress
    from metaalign_det.files import write_json

    if args.batches < 1:
        raise UserError(f"--batches must be positive, not {args.batches}")
    configs = _configs(args, opts)
    base = _read(args.against) if args.against else {}
    if args.output:
        Path(args.output).parent.mkdir(parents=True, exist_ok=True)  # fails before the work
    found: dict[int, Scores] = {}
    with warnings_alone("detectron2", "fvcore"), tempfile.TemporaryDirectory() as folder:
        for cfg in show_progress(configs, "models"):
            cfg.OUTPUT_DIR = folder  # a run's own results stay as they are
            found[cfg.SEED] = measure(cfg, args.batches, args.of)
    if args.output:
        write_json(args.output, {"batches": args.batches, "scores_by_seed": found})
    print(table(found, base))


def _configs(args: argparse.Namespace, opts: Sequence[str]) -> list[CfgNode]:
    import torch

    from metaalign_det.config import load_cfg, merge_opts
    from metaalign_det.data import register_all
    from metaalign_det.explain.runs import open_runs

    if args.runs:
        runs = open_runs(args.runs)
        configs = [run.cfg.clone() for run in runs]
        for run, cfg in zip(runs, configs):
            cfg.defrost()
            cfg.MODEL.WEIGHTS = str(run.checkpoint("model_final.pth"))  # of a finished run
    else:
        configs = [load_cfg(args.config_file)]
    seeds = [cfg.SEED for cfg in configs]
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--runs: several runs of one seed, {sorted(seeds)}: one method at a time")
    for cfg in configs:
        merge_opts(cfg, list(opts), "the command line")
        cfg.DATASETS.TARGET = (args.target,) if args.target else cfg.DATASETS.TARGET
        cfg.DATASETS.TEST = tuple(args.test) if args.test else cfg.DATASETS.TEST
        if not cfg.DATASETS.TARGET or not cfg.DATASETS.TEST:
            raise UserError("name data with --target and --test, or a config that has both")
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        register_all(cfg)
    return configs


def table(found: Mapping[int, Scores], base: Mapping[int, Scores] | None = None) -> str:
    """Markdown, a row for each source of statistics; with several models their mean difference.

    Args:
        found: seed -> scores of every model, with the same statistics and data sets.
        base: the same of another method, whose scores of the same seed are subtracted.
    """
    from metaalign_det.reports.statistics import paired_difference
    from metaalign_det.reports.table import Cell, format_table
    from metaalign_det.sweeps.differences import told

    def difference(before: Mapping[int, float], after: Mapping[int, float]) -> str:
        found = paired_difference(before, after)
        mean, interval, *_ = told(found)
        return mean if math.isnan(found.interval.low) else f"{mean} ({interval})"

    def by_seed(scores: Mapping[int, Scores], name: str, data: str) -> dict[int, float]:
        return {seed: of[name][data] for seed, of in scores.items() if data in of.get(name, {})}

    first = next(iter(found.values()))
    rows: list[dict[str, Cell]] = []
    for name in first:
        row: dict[str, Cell] = {"statistics of": _in_words(name)}
        for data in first[_AS_CAME]:
            values = by_seed(found, name, data)
            row[data] = list(values.values()) if len(found) > 1 else next(iter(values.values()))
            if len(found) > 1:
                before = by_seed(found, _AS_CAME, data)
                row[f"{data}, difference"] = difference(before, values) if name != _AS_CAME else ""
            if base:
                row[f"{data}, minus base"] = difference(by_seed(base, name, data), values)
        rows.append(row)
    return format_table(rows, list(rows[0]), style="markdown")


def _read(path: str) -> dict[int, Scores]:
    """What ``--output`` wrote.

    Raises:
        UserError: the file is not there, or is another one.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return {int(seed): scores for seed, scores in content["scores_by_seed"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"--against {path}: no file that --output has written ({error})") from error


def _in_words(name: str) -> str:
    domain, slash, view = name.partition("/")
    return f"{domain}, {view} views" if slash else name


if __name__ == "__main__":
    sys.exit(main())
