"""The demonstrations: a few runs of a miniature, their table and their pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
from detectron2.data import DatasetCatalog, MetadataCatalog

from ..data import register_all
from ..errors import UserError
from ..reports.curves import plot_curves
from ..reports.detections import draw_detections
from ..reports.table import Cell, format_table, write_results
from ..sweeps.execute import Sweep
from ..sweeps.plan import Pretraining, plan_runs
from ..sweeps.progress import Progress
from ..sweeps.runs import Run, read_scores
from ..sweeps.suites import Benchmark, Column, Task


@dataclass(frozen=True)
class Demo:
    """What a demonstration runs and shows.

    Args:
        title: above the table.
        configs: label of a row -> config file.
        columns: label -> (data set, metric).
        seed: of all runs.
        output: folder of the runs, the table and the pictures.
        pretrain: config of a first stage that all start from.
        overrides: ``KEY VALUE`` pairs for every run after the first stage.
        pretrain_overrides: ``KEY VALUE`` pairs for the first stage.
    """

    title: str
    configs: Mapping[str, Path]
    columns: Mapping[str, tuple[str, str]]
    seed: int
    output: Path
    pretrain: Path | None = None
    overrides: tuple[str, ...] = ()
    pretrain_overrides: tuple[str, ...] = ()

    def plan(self) -> dict[str, Run]:
        """Label of a row -> its run."""
        tests = tuple(dict.fromkeys(dataset for dataset, _ in self.columns.values()))
        task = Task("demo", test=tests)
        benchmark = Benchmark(
            "demo",
            self.title,
            (task,),
            tuple(Column(label, task.label, name) for label, (name, _) in self.columns.items()),
        )
        first = None
        if self.pretrain is not None:
            opts = ("DATASETS.TEST", repr(tests), *self.pretrain_overrides)
            first = Pretraining(self.pretrain, overrides=opts)
        runs = plan_runs(
            benchmark,
            list(self.configs.values()),
            [self.seed],
            self.output / "runs",
            overrides=self.overrides,
            pretraining=first,
        )
        return dict(zip(self.configs, runs))


def run_demo(
    demo: Demo, train_command: Sequence[str], jobs: int, on_progress: Callable[[Progress], None]
) -> dict[str, Run]:
    """Carry out what is missing of a demonstration.

    Raises:
        UserError: a run failed; says which, why, and where its log is.
    """
    runs = demo.plan()
    sweep = Sweep(
        list(reversed(runs.values())),  # the longest, which stand last, first
        list(train_command),
        jobs=jobs,
        on_progress=on_progress,
    )
    failures = sweep.execute()
    if failures:
        f = failures[0]
        raise UserError(f"{f.run} failed: {f.reason} (its log is in {f.run.folder})")
    return runs


def row_of(label: str, scores: Mapping[str, Mapping[str, float]], demo: Demo) -> dict[str, Cell]:
    """One row of the table from scores, data set -> metric -> percent."""
    cells: dict[str, Cell] = {"": label}
    for column, (dataset, metric) in demo.columns.items():
        cells[column] = scores.get(dataset, {}).get(metric)
    return cells


def voc_results_file(folder: Path, dataset: str) -> Path:
    """Where an evaluation with ``OUTPUT_DIR`` folder writes its scores."""
    return folder / "inference" / dataset / f"voc_{dataset}.json"


def read_voc_results(folder: Path, dataset: str) -> dict[str, float]:
    """Scores that an evaluation wrote below ``OUTPUT_DIR``, metric -> percent."""
    path = voc_results_file(folder, dataset)
    results = json.loads(path.read_text(encoding="utf-8"))["results"]
    return {f"voc/{k}": float("nan") if v is None else v for k, v in results.items()}


def write_table(
    demo: Demo, rows: Sequence[Mapping[str, Cell]], notes: Sequence[str], command: str
) -> str:
    """``table.md`` and ``table.json`` in the output folder; returns the table as text."""
    columns = ["", *demo.columns]
    write_results(
        demo.output / "table.md",
        demo.output / "table.json",
        rows,
        columns,
        demo.title,
        notes=[*notes, f"Command: `{command}`"],
        extra={"seed": demo.seed},
    )
    return format_table(rows, columns, demo.title)


def rows_of(demo: Demo, runs: Mapping[str, Run]) -> list[dict[str, Cell]]:
    """The rows of complete runs, in order."""
    return [row_of(label, read_scores(run) or {}, demo) for label, run in runs.items()]


def draw_curves(demo: Demo, runs: Mapping[str, Run]) -> Path:
    """``curves.png``: losses, discriminators and lookahead of all runs."""
    path = demo.output / "curves.png"
    plot_curves({k: r.folder / "metrics.json" for k, r in runs.items()}, path, title=demo.title)
    return path


def draw_detection_grid(
    folders: Mapping[str, Path], dataset: str, out_png: Path, count: int = 8
) -> Path:
    """A picture of what detectors find on the first images of a data set that show most.

    Args:
        folders: label -> ``OUTPUT_DIR`` whose ``inference/<dataset>`` holds detections.
        dataset: a VOC-format data set.
        out_png: picture to write.
        count: images.
    """
    register_all()
    names = list(MetadataCatalog.get(dataset).thing_classes)
    dicts = DatasetCatalog.get(dataset)[: 6 * count]
    dicts = sorted(dicts, key=lambda d: -len({a["category_id"] for a in d["annotations"]}))[:count]
    rows = {label: _found(folder, dataset, dicts, names) for label, folder in folders.items()}
    truth = [
        ([a["bbox"] for a in d["annotations"]], [a["category_id"] for a in d["annotations"]])
        for d in dicts
    ]
    images = [cv2.imread(d["file_name"])[:, :, ::-1] for d in dicts]
    draw_detections(
        images, rows, names, out_png, truth, title=f"{dataset}, detections with a score above 0.5"
    )
    return out_png


def _found(folder: Path, dataset: str, dicts: Sequence[dict], names: Sequence[str]) -> list[tuple]:
    path = folder / "inference" / dataset / f"detections_{dataset}.json"
    by_image: dict[str, list[dict]] = {}
    for item in json.loads(path.read_text(encoding="utf-8")):
        by_image.setdefault(item["image_id"], []).append(item)
    out = []
    for d in dicts:
        items = by_image.get(d["image_id"], [])
        out.append(
            (
                [x["bbox"] for x in items],
                [names.index(x["class"]) for x in items],
                [x["score"] for x in items],
            )
        )
    return out
