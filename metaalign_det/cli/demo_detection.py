"""The demonstration of ``metaalign-det demo detection``: photographs to watercolours."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..config import CONFIG_ROOT
from ..errors import UserError
from ..miniatures import ensure_mini_voc2watercolor
from ..sweeps.execute import Progress
from ..sweeps.runs import Run, read_scores
from . import demo_runs as demos
from .progress import show_progress
from .sweep import TRAIN_COMMAND

CONFIGS = CONFIG_ROOT / "mini"
TARGET, SOURCE = "mini_watercolor_test", "mini_photo_test"
ADAPTIVE_BN_BATCHES = 50
# Seven tenths of the configs' steps, so that it takes minutes: docs/results-mini.md has them all.
PRETRAIN_SCHEDULE = ("SOLVER.MAX_ITER", "490", "SOLVER.STEPS", "(343, 441)")
ADAPT_SCHEDULE = ("SOLVER.MAX_ITER", "280", "SOLVER.STEPS", "(196, 252)")


class AdaptiveBN:
    """Scores of the source detector under BatchNorm statistics of target images, no training.

    Evaluated as soon as the detector is there, while others adapt it.
    """

    def __init__(self, pretraining: Run) -> None:
        self.pretraining = pretraining
        self._pool = ThreadPoolExecutor(1)
        self._scores: Future | None = None

    def start_when_ready(self) -> None:
        if self._scores is None and read_scores(self.pretraining) is not None:
            self._scores = self._pool.submit(adaptive_bn_scores, self.pretraining)

    def scores(self) -> dict:
        self.start_when_ready()
        return self._scores.result()


def adaptive_bn_scores(pretraining: Run) -> dict:
    """Data set -> scores, by an evaluation in a process of its own, once for a pretraining."""
    folder = pretraining.folder / "adaptive_bn"
    if not all(demos.voc_results_file(folder, name).is_file() for name in (TARGET, SOURCE)):
        _evaluate_adaptive_bn(pretraining, folder)
    return {name: demos.read_voc_results(folder, name) for name in (TARGET, SOURCE)}


def _evaluate_adaptive_bn(pretraining: Run, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted one
    folder.mkdir(parents=True)
    opts = [
        *pretraining.overrides,
        "DATASETS.TARGET", "('mini_watercolor_train',)",
        "TEST.ADAPTIVE_BN", str(ADAPTIVE_BN_BATCHES),
        "MODEL.WEIGHTS", str(pretraining.weights),
        "OUTPUT_DIR", str(folder),
    ]  # fmt: skip
    command = [
        *TRAIN_COMMAND,
        "--config-file",
        str(pretraining.config),
        "--eval-only",
        "--overwrite",
    ]
    command += opts
    log_file = pretraining.folder / "adaptive_bn.log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log_file.open("w", encoding="utf-8") as log:
        code = subprocess.run(command, stdout=log, stderr=log, env=environment).returncode
    if code:
        raise UserError(f"evaluation under target statistics failed; see {log_file}")


def run_demonstration(
    output: Path, seed: int, jobs: int, overrides: Sequence[str], command_line: str
) -> None:
    """Train what is missing, then write and print the table and the pictures.

    Args:
        output: folder of the runs, the table and the pictures.
        seed: of every training.
        jobs: trainings at a time.
        overrides: ``KEY VALUE`` pairs for every training.
        command_line: stands below the table.

    Raises:
        UserError: a training failed, a key does not exist.
    """
    print("1/3  data: Mini VOC->Watercolor")
    ensure_mini_voc2watercolor(workers=jobs)
    demo = demos.Demo(
        title="Mini VOC→Watercolor, AP50 in percent",
        configs={
            "source only": CONFIGS / "source.yaml",
            "SW-DA": CONFIGS / "swda.yaml",
            "SW-DA + MetaAlign": CONFIGS / "swda_meta.yaml",
        },
        columns={
            "target, 11-point": (TARGET, "voc/AP50_11pt"),
            "target, area": (TARGET, "voc/AP50_area"),
            "source, 11-point": (SOURCE, "voc/AP50_11pt"),
        },
        seed=seed,
        output=output,
        pretrain=CONFIGS / "pretrain.yaml",
        overrides=(*ADAPT_SCHEDULE, *overrides),
        pretrain_overrides=(*PRETRAIN_SCHEDULE, *overrides),
    )
    print("2/3  training: the source detector, then three adaptations of it")
    first = next(iter(demo.plan().values())).pretrain
    baseline = AdaptiveBN(first)
    with show_progress() as show:

        def on_progress(progress: Progress) -> None:
            show(progress)
            baseline.start_when_ready()

        runs = demos.run_demo(demo, TRAIN_COMMAND, jobs, on_progress)
    rows = [
        demos.row_of("source detector", read_scores(first) or {}, demo),
        demos.row_of("the same, adaptive BN", baseline.scores(), demo),
        *demos.rows_of(demo, runs),
    ]
    print("3/3  table and pictures")
    notes = [
        f"Seed {seed}, seven tenths of the configs' steps. The source detector is trained on "
        "photographs alone; the others go on from it for the same number of steps. One seed of a "
        "miniature: see docs/results-mini.md for means over seeds at full length."
    ]
    table = demos.write_table(demo, rows, notes, command_line)
    demos.draw_curves(demo, runs)
    folders = {"before": first.folder, **{k: r.folder for k, r in runs.items()}}
    demos.draw_detection_grid(folders, TARGET, output / "detections.png")
    print(f"\n{table}\n")
    print(f"table       {output}/table.md, table.json")
    print(f"curves      {output}/curves.png")
    print(f"detections  {output}/detections.png")
