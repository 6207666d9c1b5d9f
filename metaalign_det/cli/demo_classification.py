"""Adapt a digit classifier from drawn digits to digits on photographs, in minutes.

python -m metaalign_det.cli.demo_classification           # into output/demo_classification
python -m metaalign_det.cli.demo_classification --jobs 1 --seed 3

Trains source-only, DANN, DANN with MetaAlign and, as the bound, an oracle on labelled target
images; scores each on the source's and the target's test images.
"""

from __future__ import annotations

import shlex
import sys

from ..config import CONFIG_ROOT
from ..miniatures.digits import ensure_mini_digits
from . import demo_runs as demos
from .demo import TRAIN_COMMAND, arguments, finish
from .sweep import ProgressLine

CONFIGS = CONFIG_ROOT / "mini_digits"
ACCURACY = "classification/accuracy"


def main() -> None:
    args, overrides = arguments(__doc__, "output/demo_classification")
    print("1/3  data: Mini Digits")
    ensure_mini_digits()
    demo = demos.Demo(
        title="Mini Digits, accuracy in percent",
        configs={
            "source only": CONFIGS / "source.yaml",
            "DANN": CONFIGS / "dann.yaml",
            "DANN + MetaAlign": CONFIGS / "dann_meta.yaml",
            "oracle (target labels)": CONFIGS / "oracle.yaml",
        },
        columns={
            "target test": ("mini_digits_target_test", ACCURACY),
            "source test": ("mini_digits_source_test", ACCURACY),
        },
        seed=args.seed,
        output=args.output,
        overrides=tuple(overrides),
    )
    print("2/3  training: four classifiers")
    line = ProgressLine()
    try:
        runs = demos.run_demo(demo, TRAIN_COMMAND, args.jobs, line)
    finally:
        line.clear()
    print("3/3  table and curves")
    command = shlex.join(["python -m metaalign_det.cli.demo_classification", *sys.argv[1:]])
    notes = [f"Seed {args.seed}. See docs/results-mini.md for means over seeds."]
    table = demos.write_table(demo, demos.rows_of(demo, runs), notes, command)
    demos.draw_curves(demo, runs)
    print(f"\n{table}\n")
    print(f"table   {args.output}/table.md, table.json")
    print(f"curves  {args.output}/curves.png")


if __name__ == "__main__":
    sys.exit(finish(main))
