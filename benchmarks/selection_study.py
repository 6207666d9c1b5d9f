"""How well each label-free validator chooses: rank correlation and regret on the miniatures.

    # Mini Digits, the full study
    python -m benchmarks.selection_study --seeds 0 1 2 3 4 --jobs 2 \\
        --output output/selection_study/digits
    # Mini VOC -> Watercolor
    python -m benchmarks.selection_study --detection --seeds 0 1 2 3 4 --jobs 2 \\
        --output output/selection_study/detection
    # A look at how it works, in minutes
    python -m benchmarks.selection_study --configs source dann --seeds 0 1 --eval-period 50 \\
        --output output/selection_study/small -- SOLVER.MAX_ITER 200

Every setting is trained with every seed, and judged by all validators and by the labels of the
target test set at every evaluation. The same command continues where it stopped; --table-only
reads what is there. Two choices are looked at:

    checkpoints   among the evaluations of one run
    settings      among the settings at the end of training, seed by seed

and for both, of each validator: Spearman's rank correlation of its score with the target score
(1 = the same order), and its regret, the points lost against the best candidate. "last" takes the
last checkpoint, "source" goes by the score on the source's test images, which needs no target
label either. Results go to study.json and study.md, with --into docs/selection.md into that page.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metaalign_det.cli.quiet import silence_third_party
from metaalign_det.errors import UserError

if TYPE_CHECKING:
    from benchmarks.selection_analysis import Study
    from metaalign_det.sweeps.runs import Run


def plan(study: Study, args: argparse.Namespace) -> list[Run]:
    """The trainings of a study."""
    from metaalign_det.config import CONFIG_ROOT
    from metaalign_det.evaluation.label_free import VALIDATORS
    from metaalign_det.sweeps.plan import plan_runs
    from metaalign_det.sweeps.suites import get_benchmark

    names = [v.name for v in VALIDATORS.values() if v.task == study.task]
    # Written so that a config reads it back; the first chooses, which the study does not look at.
    also = "(" + "".join(f"'{n}'," for n in names) + ")"
    overrides = [
        *("SELECTION.ENABLED", "True", "SELECTION.ALSO", also),
        *("SELECTION.ORACLE", study.target, "SELECTION.IMAGES", str(args.images)),
        *("SELECTION.TARGET", f"('{study.unlabelled}',)"),
        *("DATASETS.TEST", f"('{study.target}', '{study.source}')"),
        *("TEST.EVAL_PERIOD", str(args.eval_period or study.eval_period)),
        *args.opts,
    ]
    root = CONFIG_ROOT / study.folder
    return plan_runs(
        get_benchmark(study.benchmark),
        [root / f"{name}.yaml" for name in args.configs or study.configs],
        args.seeds,
        args.output,
        overrides=overrides,
    )


def insert(document: Path, name: str, text: str) -> None:
    """Replace what stands between ``<!-- study NAME -->`` and ``<!-- end NAME -->``.

    Raises:
        UserError: the document is missing, or has no such place.
    """
    if not document.is_file():
        raise UserError(f"--into: there is no file {document}")
    before, found, rest = document.read_text(encoding="utf-8").partition(f"<!-- study {name} -->\n")
    _, ended, after = rest.partition(f"<!-- end {name} -->")
    if not found or not ended:
        raise UserError(
            f"--into: {document} has no lines <!-- study {name} --> and <!-- end {name} -->"
        )
    document.write_text(f"{before}{found}{text}{ended}{after}", encoding="utf-8")


def argument_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--detection", action="store_true", help="Mini VOC -> Watercolor, not Mini Digits")
    add("--configs", nargs="+", default=[], metavar="NAME", help="settings, names of config files")
    add("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="SEED")
    add("--eval-period", type=int, default=0, metavar="N", help="iterations between evaluations")
    add("--images", type=int, default=500, metavar="N", help="that validators look at")
    add("--output", type=Path, required=True, metavar="FOLDER")
    add("--jobs", type=int, default=1, help="trainings at a time")
    add("--into", type=Path, metavar="FILE", help="also put the tables into this document")
    add("--table-only", action="store_true", help="train nothing")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0; 1 if a training failed; 2 for a mistake in the command; 130 interrupted."""
    silence_third_party()  # before Detectron2 is imported
    argv = list(sys.argv[1:] if argv is None else argv)
    cut = argv.index("--") if "--" in argv else len(argv)
    args = argument_parser().parse_args(argv[:cut])
    args.opts = argv[cut + 1 :]
    logging.getLogger("metaalign_det").setLevel(logging.INFO)
    try:
        return _run(args, f"python -m benchmarks.selection_study {shlex.join(argv)}")
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; the same command continues where it stopped\n")
        return 130


def _run(args: argparse.Namespace, command: str) -> int:
    from benchmarks.selection_analysis import DETECTION, DIGITS, report
    from metaalign_det.cli.progress import show_progress
    from metaalign_det.cli.sweep import TRAIN_COMMAND
    from metaalign_det.evaluation.label_free.outcome import read_outcome
    from metaalign_det.sweeps.execute import Sweep

    study = DETECTION if args.detection else DIGITS
    runs = plan(study, args)
    failures = []
    if not args.table_only:
        with show_progress() as show:
            failures = Sweep(
                runs, list(TRAIN_COMMAND), jobs=args.jobs, threads=1, on_progress=show
            ).execute()
    found = {run: read_outcome(run.folder) for run in runs}
    outcomes = {
        run: o for run, o in found.items() if o is not None and o.last and o.last.checkpoint
    }
    if not outcomes:
        raise UserError(f"no run in {args.output} is complete: there is nothing to study")
    text = report(study, outcomes, args.output, command, len(runs) - len(outcomes))
    if args.into:
        insert(args.into, study.benchmark, text)
    sys.stdout.write(text + f"\nwritten to {args.output / 'study.md'} and .json\n")
    for failure in failures:
        sys.stderr.write(f"error: {failure.run}: {failure.reason}\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
