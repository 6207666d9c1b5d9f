"""Run several methods and seeds into one table: on your own data, or on a whole benchmark.

metaalign-det sweep --seeds 0 1 2 --output output/drawings \\
    --configs source.yaml swda.yaml photos2drawings.yaml

metaalign-det sweep --benchmark office_home --seeds 0 1 2 --jobs 2 --output output/office_home \\
    --configs configs/office_home/dann.yaml configs/office_home/dann_meta.yaml

metaalign-det sweep --benchmark mini --seeds 0 1 2 --output output/mini \\
    --pretrain-config configs/mini/pretrain.yaml --configs configs/mini/{source,swda}.yaml

The same command again continues where it stopped. KEY VALUE pairs after -- go to every run.
See docs/sweeps.md.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UserError
from ..sweeps.suites import BENCHMARKS, get_benchmark
from .arguments import add_opts
from .progress import show_progress

if TYPE_CHECKING:
    from ..sweeps.progress import Failure
    from ..sweeps.runs import Run
    from ..sweeps.suites import Benchmark

INTERRUPTED = "the same command continues where it stopped"

#: The training program of every run.
TRAIN_COMMAND = (sys.executable, "-m", "metaalign_det.cli", "train")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--benchmark",
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}; default: the configs' own DATASETS.*, as one task",
    )
    add("--configs", required=True, nargs="+", metavar="FILE", help="one per method, one row each")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    add("--tasks", nargs="+", metavar="TASK", help="some of the benchmark's, e.g. 'A->W' 'D->W'")
    add("--output", required=True, metavar="FOLDER", help="of runs and tables")
    add("--jobs", type=int, help="runs at a time (default: 1, or one per GPU; slurm: all)")
    add("--threads", type=int, default=1, help="of each run (default: 1)")
    add("--gpus", nargs="+", default=[], metavar="ID", help="to share out, one per run")
    add("--table-only", action="store_true", help="run nothing, print what is there")
    add("--metrics", nargs="+", default=[], metavar="NAME", help="one table each")
    add("--against", nargs="+", default=[], metavar="[METHOD:]BASE", help="also print differences "
        "to BASE of the same seed, of METHOD or of all methods")  # fmt: skip
    add("--discard-checkpoints", action="store_true", help="of runs that are complete")
    group = parser.add_argument_group("where the runs are carried out")
    group.add_argument(
        "--launcher",
        choices=("local", "slurm"),
        default="local",
        help="processes of this machine, or jobs of a Slurm cluster (default: local)",
    )
    group.add_argument(
        "--slurm",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="options of sbatch, e.g. time=8:00:00 partition=gpu gpus=1 cpus=6 mem=32G account=me",
    )
    group.add_argument(
        "--no-wait", action="store_true", help="slurm: submit and return; --table-only later"
    )
    group = parser.add_argument_group("pretraining, which all runs start from")
    group.add_argument("--pretrain-config", metavar="FILE")
    group.add_argument("--pretrain-per-seed", action="store_true", help="default: once for all")
    group.add_argument("--pretrain-opts", nargs="+", default=[], metavar="KEY VALUE")
    group = parser.add_argument_group("choosing settings")
    group.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar=("[METHOD:]NAME", "KEY VALUE"),
        help="settings on top of the config of METHOD ('*_meta': of all that fit), or of every "
        "method; repeat it. Each is a row of its own, unless --select or --select-by",
    )
    group.add_argument(
        "--select",
        action="store_true",
        help="per method, report the variant that is best on the benchmark's validation set, or on "
        "that of --val",
    )
    group.add_argument(
        "--val", metavar="DATASET", help="without --benchmark: the labelled data set of --select"
    )
    group.add_argument(
        "--select-by",
        metavar="VALIDATOR",
        help="the same by a label-free validator (ensv, fis, ...; docs/selection.md), which needs "
        "no validation set",
    )
    group.add_argument(
        "--select-seeds", nargs="+", type=int, metavar="SEED", help="default: those of --seeds"
    )
    add_opts(parser, "after --: config keys to change in every run")


def run(args: argparse.Namespace) -> int:
    """Exit code 1 if a run failed."""
    with _messages(), _sigterm_interrupts():
        failures = sweep(args, args.command_line, TRAIN_COMMAND)
    if failures:
        sys.stderr.write(summarize(failures) + "\n")
    return 1 if failures else 0


def read_variants(given: Sequence[Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """``--variant`` options as a mapping: method ("" for every one) -> name -> KEY VALUE pairs."""
    variants: dict[str, dict[str, list[str]]] = {}
    for label, *pairs in given:
        method, _, name = label.rpartition(":")
        if not name or not all(c.isalnum() or c in "._=+-" for c in name) or name[0] == ".":
            raise UserError(f"--variant {label}: a name is letters, digits and any of . _ = + -")
        if len(pairs) % 2:
            raise UserError(f"--variant {label}: {' '.join(pairs)} are not pairs of KEY and VALUE")
        if name in variants.setdefault(method, {}):
            raise UserError(f"--variant {label} is given twice")
        variants[method][name] = pairs
    return variants


def summarize(failures: Sequence[Failure]) -> str:
    """Failed runs, those of the same reason together."""
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        by_reason.setdefault(failure.reason, []).append(str(failure.run))
    return "\n".join(
        f"error: {len(runs)} failed, {', '.join(runs[:3])}{', ...' if len(runs) > 3 else ''}: {why}"
        for why, runs in by_reason.items()
    )


def sweep(
    args: argparse.Namespace, command_line: str, train_command: Sequence[str]
) -> list[Failure]:
    """What the command line says; returns the runs that failed."""
    from ..sweeps.differences import read_pairs
    from ..sweeps.label_free import choose_by_validator
    from ..sweeps.plan import Pretraining, plan_runs, with_a_choice
    from ..sweeps.runs import check_made_by
    from ..sweeps.tables import check_validation, choose, report

    benchmark = _benchmark(args)
    variants = read_variants(args.variant)
    selecting = args.select or bool(args.select_by)
    if args.select and args.select_by:
        raise UserError("--select (by a validation set) or --select-by (without labels), not both")
    if args.select:
        check_validation(benchmark)
    if args.select_seeds and not selecting:
        raise UserError("--select-seeds is a part of --select and --select-by")
    if args.pretrain_config is None and (args.pretrain_per_seed or args.pretrain_opts):
        raise UserError("--pretrain-per-seed and --pretrain-opts need --pretrain-config")
    pretraining = None
    if args.pretrain_config is not None:
        pretraining = Pretraining(
            Path(args.pretrain_config), args.pretrain_per_seed, tuple(args.pretrain_opts)
        )

    def plan(seeds: Sequence[int]) -> list[Run]:
        return plan_runs(
            benchmark,
            args.configs,
            seeds,
            args.output,
            overrides=args.opts,
            variants=variants,
            pretraining=pretraining,
            processes=_processes(args),
            select_by=args.select_by,
        )

    launch = _launcher(args, train_command)
    runs, choices = plan(args.seeds), []
    pairs = read_pairs(args.against, [run.method for run in runs])
    failures: list[Failure] = []
    if selecting:
        candidates = with_a_choice(plan(args.select_seeds or args.seeds))
        if not candidates:
            raise UserError(
                "--select chooses among variants of a method: give two or more with --variant"
            )
        failures, waiting = launch(candidates)
        if waiting:
            print(f"{waiting} runs are in the queue; the same command chooses when they have ended")
            return failures
        if args.select:
            choices = choose(benchmark, candidates, (args.metrics or benchmark.metrics)[0])
        else:
            choices = choose_by_validator(candidates, args.select_by)
        chosen = {c.method: c.variant for c in choices}
        runs = [run for run in runs if run.variant == chosen.get(run.method, run.variant)]
    later, waiting = launch(runs)
    failures = [*failures, *later]
    if waiting:
        print(
            f"{waiting} runs are in the queue; the same command with --table-only prints the table "
            "of those that ended"
        )
        return failures
    if args.table_only:
        check_made_by(runs, args.output)
    tables = report(
        benchmark,
        runs,
        args.output,
        metrics=args.metrics,
        command=command_line,
        choices=choices,
        against=pairs,
    )
    print("\n\n".join(tables))
    print(f"\nwritten to {Path(args.output) / 'table_*.md'} and .json")
    return failures


def _processes(args: argparse.Namespace) -> int:
    """Of every run: as many as the graphics cards that it asks Slurm for."""
    from ..sweeps.slurm_options import read_slurm_options

    asks = args.launcher == "slurm" and args.slurm
    return max(1, read_slurm_options(args.slurm).gpus) if asks else 1


def _launcher(
    args: argparse.Namespace, train_command: Sequence[str]
) -> Callable[[Sequence[Run]], tuple[list[Failure], int]]:
    """What carries runs out; it returns those that failed, and how many it left in a queue.

    Raises:
        UserError: options of the one launcher given to the other.
    """
    from ..sweeps.execute import Sweep
    from ..sweeps.progress import with_pretraining
    from ..sweeps.runs import collect_scores
    from ..sweeps.slurm import SlurmSweep
    from ..sweeps.slurm_options import read_slurm_options

    slurm = args.launcher == "slurm"
    if not slurm and (args.slurm or args.no_wait):
        raise UserError("--slurm and --no-wait are for --launcher slurm")
    if slurm and args.gpus:
        raise UserError(
            "--gpus shares out this machine's; on a cluster, --slurm gpus=1 asks for it"
        )
    if args.table_only:

        def collect(runs: Sequence[Run]) -> tuple[list[Failure], int]:
            for run in with_pretraining(runs):  # some may have outlived the sweep that began them
                collect_scores(run)
            return [], 0

        return collect
    options = read_slurm_options(args.slurm) if slurm else None

    def launch(runs: Sequence[Run]) -> tuple[list[Failure], int]:
        with show_progress() as show:
            common = {"threads": args.threads, "discard_checkpoints": args.discard_checkpoints}
            if options is None:
                jobs = max(1, len(args.gpus)) if args.jobs is None else args.jobs
                pool = Sweep(
                    runs, list(train_command), jobs, gpus=args.gpus, on_progress=show, **common
                )
                return pool.execute(), 0
            queue = SlurmSweep(
                runs,
                list(train_command),
                Path(args.output),
                options,
                args.jobs,
                wait=not args.no_wait,
                on_progress=show,
                **common,
            )
            return queue.execute(), queue.queued()

    return launch


def _benchmark(args: argparse.Namespace) -> Benchmark:
    """The one that is named, or the configs' own data."""
    from ..sweeps.own_data import own_benchmark

    if args.val and not args.select:
        raise UserError("--val is a part of --select")
    if args.benchmark is None:
        if args.tasks:
            raise UserError("--tasks chooses among the tasks of a --benchmark")
        return own_benchmark(args.configs, overrides=args.opts, validation=args.val or "")
    if args.val:
        raise UserError(f"--val is for data of your own; {args.benchmark} has its own validation")
    benchmark = get_benchmark(args.benchmark)
    return benchmark.restrict(args.tasks) if args.tasks else benchmark


@contextmanager
def _messages() -> Iterator[None]:
    """This package's messages on standard error."""
    ours = logging.getLogger("metaalign_det")
    handler = logging.StreamHandler(sys.stderr)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        ours.removeHandler(handler)


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """End as after Ctrl-C: runs save before the sweep does."""

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
