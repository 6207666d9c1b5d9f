"""The demonstration of ``metaalign-det demo detection``: photographs to watercolours."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from ..config import CONFIG_ROOT
from ..errors import UserError
from ..sweeps.runs import Run
from . import demo_runs as demos
from .progress import show_progress
from .sweep import TRAIN_COMMAND

CONFIGS = CONFIG_ROOT / "mini"
TRAIN_SET, TARGET, SOURCE = "mini_openmoji_train", "mini_openmoji_test", "mini_photo_test"
ADAPTIVE_BN_BATCHES = 50
#: Half of the presets' steps, so that all is done in less than five minutes, with a warm-up and an
#: average of weights to go with them, chosen on target val (docs/results-mini.md). Checkpoints are
#: for ``explain gradients --over-training``.
SCHEDULE = (
    *("SOLVER.MAX_ITER", "200"),
    *("SOLVER.STEPS", "(140, 180)"),
    *("SOLVER.WARMUP_ITERS", "20"),
    *("EMA.DECAY", "0.97"),
    *("SOLVER.CHECKPOINT_PERIOD", "50"),
)


class SourceDetector:
    """Scores of the detector that all start from, as it is and under target statistics.

    Evaluated in processes of their own while the others train.

    Args:
        folder: of both evaluations.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pool = ThreadPoolExecutor(1)
        self._scores: dict[str, Future] = {
            "as_it_is": self._pool.submit(self._evaluate, "as_it_is"),
            "adaptive_bn": self._pool.submit(
                self._evaluate,
                "adaptive_bn",
                *("DATASETS.TARGET", f"('{TRAIN_SET}',)"),
                *("TEST.ADAPTIVE_BN", str(ADAPTIVE_BN_BATCHES)),
            ),
        }

    def scores(self, name: str) -> dict[str, dict[str, float]]:
        """Data set -> scores, of "as_it_is" or "adaptive_bn"."""
        return self._scores[name].result()

    def _evaluate(self, name: str, *opts: str) -> dict[str, dict[str, float]]:
        folder = self.folder / name
        if not all(demos.voc_results_file(folder, x).is_file() for x in (TARGET, SOURCE)):
            command = [
                *(*TRAIN_COMMAND, "--config-file", str(CONFIGS / "source.yaml")),
                *("--eval-only", "--overwrite", "OUTPUT_DIR", str(folder), *opts),
            ]
            self.folder.mkdir(parents=True, exist_ok=True)
            log_file = self.folder / f"{name}.log"
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            with log_file.open("w", encoding="utf-8") as log:
                code = subprocess.run(command, stdout=log, stderr=log, env=environment).returncode
            if code:
                raise UserError(f"the source detector cannot be evaluated; see {log_file}")
        return {name: demos.read_voc_results(folder, name) for name in (TARGET, SOURCE)}


def demonstration(output: Path, seed: int, overrides: Sequence[str] = ()) -> demos.Demo:
    """What is trained, and the columns of the table."""
    return demos.Demo(
        title="Mini VOC→Watercolor, AP50 in percent",
        configs={
            "source only": CONFIGS / "source.yaml",
            "SW-DA": CONFIGS / "swda.yaml",
            "SW-DA + MetaAlign": CONFIGS / "swda_meta.yaml",
            "SW-DA + mean teacher": CONFIGS / "swda_teacher.yaml",
        },
        columns={
            "target": (TARGET, "voc/AP50_11pt"),
            "target, average of weights": (TARGET, "teacher/voc/AP50_11pt"),
            "source": (SOURCE, "voc/AP50_11pt"),
        },
        seed=seed,
        output=output,
        overrides=(*SCHEDULE, *overrides),
    )


def run_demonstration(
    output: Path, seed: int, jobs: int, overrides: Sequence[str], command_line: str
) -> None:
    """Train what is missing, then write and print the table, the pictures and the report.

    Args:
        output: folder of the runs, the table and the pictures.
        seed: of every training.
        jobs: trainings at a time.
        overrides: ``KEY VALUE`` pairs for every training, after ``SCHEDULE``.
        command_line: stands below the table.

    Raises:
        UserError: a training failed, a key does not exist.
    """
    from ..miniatures.build import ensure_collection
    from ..miniatures.splits import FOLDER, OPENMOJI_FOLDER
    from ..reports.run_report import write_report

    print("1/3  data: photographs, and watercolours by another designer")
    for name in (FOLDER, OPENMOJI_FOLDER):
        ensure_collection(name, workers=min(max(jobs, 1), os.cpu_count() or 1))
    demo = demonstration(output, seed, overrides)
    print("2/3  training: four times on from the source detector that comes with the package")
    before = SourceDetector(output / "source_detector")
    with show_progress() as show:
        runs = demos.run_demo(demo, TRAIN_COMMAND, jobs, show)
    rows = [
        demos.row_of("source detector", before.scores("as_it_is"), demo),
        demos.row_of("the same, adaptive BN", before.scores("adaptive_bn"), demo),
        *demos.rows_of(demo, runs),
    ]
    print("3/3  table, pictures and report")
    notes = [
        f"Seed {seed}, 11-point AP50. All start from the same source detector, which has seen "
        "photographs alone, and train for as many steps. One seed of a miniature: see "
        "docs/results-mini.md."
    ]
    table = demos.write_table(demo, rows, notes, command_line)
    demos.draw_curves(demo, runs)
    shown = {"before": before.folder / "as_it_is", **_folders(runs)}
    demos.draw_detection_grid(shown, TARGET, output / "detections.png", count=5)
    report = write_report(
        _folders(runs), output / "report.html", title=demo.title, baseline="source only"
    )
    print(f"\n{table}\n")
    print(f"table       {output}/table.md, table.json")
    print(f"curves      {output}/curves.png")
    print(f"detections  {output}/detections.png")
    print(f"report      {report}: open it in a browser")


def _folders(runs: dict[str, Run]) -> dict[str, Path]:
    return {label: run.folder for label, run in runs.items()}
