"""The demonstration of ``metaalign-det demo classification``: digits to digits on photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config import CONFIG_ROOT
from ..miniatures.digits import ensure_mini_digits
from . import demo_runs as demos
from .progress import show_progress
from .sweep import TRAIN_COMMAND

CONFIGS = CONFIG_ROOT / "mini_digits"
ACCURACY = "classification/accuracy"


def run_demonstration(
    output: Path, seed: int, jobs: int, overrides: Sequence[str], command_line: str
) -> None:
    """Train what is missing, then write and print the table and the curves.

    Args and Raises: as in :func:`.demo_detection.run_demonstration`.
    """
    from ..reports.run_report import write_report

    print("1/3  data: Mini Digits")
    ensure_mini_digits()
    demo = demos.Demo(
        title="Mini Digits, accuracy in percent",
        configs={
            "source only": CONFIGS / "source.yaml",
            "the same, adaptive BN": CONFIGS / "source_adaptive_bn.yaml",
            "DANN": CONFIGS / "dann.yaml",
            "DANN + MetaAlign": CONFIGS / "dann_meta.yaml",
            "oracle (target labels)": CONFIGS / "oracle.yaml",
        },
        columns={
            "target test": ("mini_digits_target_test", ACCURACY),
            "source test": ("mini_digits_source_test", ACCURACY),
        },
        seed=seed,
        output=output,
        overrides=tuple(overrides),
    )
    print("2/3  training: five classifiers")
    with show_progress() as show:
        runs = demos.run_demo(demo, TRAIN_COMMAND, jobs, show)
    print("3/3  table, curves and report")
    notes = [f"Seed {seed}. See docs/results-mini.md for means over seeds."]
    table = demos.write_table(demo, demos.rows_of(demo, runs), notes, command_line)
    demos.draw_curves(demo, runs)
    folders = {label: run.folder for label, run in runs.items()}
    report = write_report(folders, output / "report.html", title=demo.title, baseline="source only")
    print(f"\n{table}\n")
    print(f"table   {output}/table.md, table.json")
    print(f"curves  {output}/curves.png")
    print(f"report  {report}: open it in a browser")
