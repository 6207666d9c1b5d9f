"""Run all source->target pairs of a benchmark, for several methods and seeds, and print the table.

tools/sweep.py --benchmark office_home --seeds 0 1 2 --jobs 2 --output output/sweeps/office_home \\
    --configs configs/office_home/dann.yaml configs/office_home/dann_meta.yaml

tools/sweep.py --benchmark mini --seeds 0 1 2 --output output/sweeps/mini \\
    --pretrain-config configs/mini/pretrain.yaml --configs configs/mini/{source,swda}.yaml

The same command again continues where it stopped. KEY VALUE pairs after -- go to every run.
See docs/sweeps.md.
"""

from __future__ import annotations

import argparse
import datetime
import logging
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from ..sweeps.execute import Failure, Progress, Sweep
from ..sweeps.plan import Pretraining, Variants, plan_runs
from ..sweeps.runs import Run
from ..sweeps.suites import BENCHMARKS, get_benchmark
from ..sweeps.tables import check_validation, choose, report

#: The training program of every run.
TRAIN_COMMAND = (sys.executable, "-m", "metaalign_det.cli.train")
_PERIOD_SECONDS = 60  # between progress lines where they do not overwrite each other
_CLEAR = "\r\033[K"


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--benchmark", required=True, metavar="NAME", help=", ".join(BENCHMARKS))
    add("--configs", required=True, nargs="+", metavar="FILE", help="one a method, one row each")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    add("--tasks", nargs="+", metavar="TASK", help="some of its tasks only, e.g. 'A->W' 'D->W'")
    add("--output", required=True, metavar="FOLDER", help="of runs and tables")
    add("--jobs", type=int, help="runs at a time (default: 1, or one for each of --gpus)")
    add("--threads", type=int, default=1, help="of each run (default: 1)")
    add("--gpus", nargs="+", default=[], metavar="ID", help="to share out, one a run")
    add("--table-only", action="store_true", help="run nothing, print what is there")
    add("--metrics", nargs="+", default=[], metavar="NAME", help="one table each")
    add("--discard-checkpoints", action="store_true", help="of runs that are complete")
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
        help="settings on top of the config of METHOD, or of every method; repeat it. Each is a "
        "row of its own, unless --select",
    )
    group.add_argument(
        "--select",
        action="store_true",
        help="per method, report the variant that is best on the benchmark's validation set",
    )
    group.add_argument(
        "--select-seeds", nargs="+", type=int, metavar="SEED", help="default: those of --seeds"
    )
    return parser


def read_variants(given: Sequence[Sequence[str]]) -> dict[str, Variants]:
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


class ProgressLine:
    """One line on a terminal that is overwritten; elsewhere a line when something has changed."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._last: tuple[float, tuple[int, int] | None] = (0.0, None)

    def __call__(self, progress: Progress) -> None:
        line = describe(progress)
        if self._terminal:
            width = shutil.get_terminal_size().columns - 1
            print(_CLEAR + line[:width], end="", file=sys.stderr, flush=True)
            return
        then, counts = self._last
        now = time.monotonic()
        if counts != (progress.done, progress.failed) or now - then >= _PERIOD_SECONDS:
            self._last = (now, (progress.done, progress.failed))
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._terminal:
            print(_CLEAR, end="", file=sys.stderr, flush=True)


def describe(progress: Progress) -> str:
    """``3/12 done, ETA 0:12:00; dann A→W seed 0 120/10002``."""
    parts = [f"{progress.done}/{progress.total} done"]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.elsewhere:
        parts.append(f"{progress.elsewhere} at work elsewhere")
    if progress.seconds_left is not None:
        parts.append(f"ETA {datetime.timedelta(seconds=round(progress.seconds_left))}")
    running = [f"{run} {iteration}/{run.max_iter}" for run, iteration in progress.running]
    return "; ".join([", ".join(parts), *running])


def summarise(failures: Sequence[Failure]) -> str:
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
    benchmark = get_benchmark(args.benchmark)
    if args.tasks:
        benchmark = benchmark.restrict(args.tasks)
    variants = read_variants(args.variant)
    if args.select:
        check_validation(benchmark)
        if not variants:
            raise UserError("--select chooses among variants: give some with --variant")
    elif args.select_seeds:
        raise UserError("--select-seeds is a part of --select")
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
        )

    def execute(runs: Sequence[Run]) -> list[Failure]:
        if args.table_only:
            return []
        line = ProgressLine()
        try:
            return Sweep(
                runs,
                list(train_command),
                jobs=max(1, len(args.gpus)) if args.jobs is None else args.jobs,
                threads=args.threads,
                gpus=args.gpus,
                discard_checkpoints=args.discard_checkpoints,
                on_progress=line,
            ).execute()
        finally:
            line.clear()

    runs, failures, choices = plan(args.seeds), [], []
    if args.select:
        candidates = plan(args.select_seeds or args.seeds)
        failures = execute(candidates)
        choices = choose(benchmark, candidates, (args.metrics or benchmark.metrics)[0])
        chosen = {(c.method, c.variant) for c in choices}
        runs = [run for run in runs if (run.method, run.variant) in chosen]
    failures = [*failures, *execute(runs)]
    tables = report(
        benchmark,
        runs,
        args.output,
        metrics=args.metrics,
        command=command_line,
        choices=choices,
    )
    print("\n\n".join(tables))
    print(f"\nwritten to {Path(args.output) / 'table_*.md'} and .json")
    return failures


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


class _Handler(logging.StreamHandler):
    """Messages do not end up behind the progress line."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream.isatty():
            self.stream.write(_CLEAR)
        super().emit(record)


def main(argv: Sequence[str] | None = None, train_command: Sequence[str] = TRAIN_COMMAND) -> int:
    """Exit code: 0; 1 if a run failed; 2 for a mistake in the command; 130 if interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    args = argument_parser().parse_args(argv[:cut])
    args.opts = argv[cut + 1 :]
    ours = logging.getLogger("metaalign_det")
    handler = _Handler(sys.stderr)
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        failures = sweep(args, shlex.join(["tools/sweep.py", *argv]), train_command)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)
        ours.removeHandler(handler)
    if failures:
        print(summarise(failures), file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
