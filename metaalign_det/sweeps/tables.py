"""From the results of a sweep to its table, and the choice of settings on validation data."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import detectron2
import torch

from ..errors import UserError
from ..reports.table import Cell, format_table, write_results
from .choices import Choice, choose_variants
from .differences import as_facts, compare, difference_table
from .published import AVERAGE, COLUMN, published, published_column
from .runs import Run, read_scores
from .suites import Benchmark
from .table_files import replaced_table

#: (method, variant, task label, seed) -> data set -> metric -> percent.
Scores = dict[tuple[str, str, str, int], dict[str, dict[str, float]]]

METHOD = "method"


def gather(runs: Sequence[Run]) -> Scores:
    """The scores of those runs that are complete."""
    found = ((run, read_scores(run)) for run in runs)
    return {_key(run): scores for run, scores in found if scores is not None}


def _key(run: Run) -> tuple[str, str, str, int]:
    return run.method, run.variant, run.task.label, run.seed


def check_validation(benchmark: Benchmark) -> str:
    """What the benchmark's settings are chosen by, for a reader.

    Raises:
        UserError: it has no validation data; choosing on a test set would be choosing on target
            test labels.
    """
    columns = benchmark.columns_to_choose_by()
    if not columns:
        raise UserError(
            f"--select: {benchmark.name} has no validation set; a choice by the scores of its test "
            "sets would use the labels it is reported on. Choose without labels (--select-by ensv) "
            "or run every variant as a row of its own (without --select). For data of your own, "
            "without --benchmark, --val names a validation set"
        )
    return columns[0].label if len(columns) == 1 else f"the mean of {len(columns)} validation sets"


def choose(benchmark: Benchmark, runs: Sequence[Run], metric: str) -> list[Choice]:
    """For each method the variant of the best mean over seeds on validation data.

    Args:
        benchmark: one with validation data; of several sets, the mean counts.
        runs: of all variants; ties go to the variant that comes first.
        metric: percent, the higher the better.

    Raises:
        UserError: the benchmark has no validation data, or the runs no such metric.
    """
    label = check_validation(benchmark)
    columns = benchmark.columns_to_choose_by()
    scores = gather(runs)
    _check_metric(scores, metric)

    def on_validation(run: Run) -> list[float]:
        names = [column.dataset for column in columns if column.task == run.task.label]
        return [_value(scores, _key(run), name, metric) for name in names]

    return choose_variants(runs, on_validation, label)


def _value(scores: Scores, key: tuple[str, str, str, int], dataset: str, metric: str) -> float:
    return scores.get(key, {}).get(dataset, {}).get(metric, math.nan)


def _check_metric(scores: Scores, metric: str) -> None:
    known = {m for run in scores.values() for found in run.values() for m in found}
    if known and metric not in known:
        totals = sorted(m for m in known if m.count("/") == 1)  # not those of single classes
        raise UserError(f"--metrics: no run has {metric!r}; they have {', '.join(totals)}")


def make_rows(
    benchmark: Benchmark, runs: Sequence[Run], metric: str
) -> tuple[list[dict[str, Cell]], list[str]]:
    """Rows and columns for :mod:`.table`: a row is a method, a cell holds one value per seed.

    A value that is missing is NaN, so that a cell's values always stand in the order of the
    seeds. The average is taken over a seed's columns, where all are there, and then over seeds.

    Args:
        benchmark: tells the columns.
        runs: of all methods, complete or not.
        metric: see :class:`~.benchmarks.Benchmark`.

    Raises:
        UserError: the runs have no such metric.
    """
    scores = gather(runs)
    _check_metric(scores, metric)
    seeds = list(dict.fromkeys(run.seed for run in runs))
    rows: list[dict[str, Cell]] = []
    for method, variant in dict.fromkeys((run.method, run.variant) for run in runs):
        cells = {
            c.label: [
                _value(scores, (method, variant, c.task, seed), c.dataset, metric) for seed in seeds
            ]
            for c in benchmark.columns
        }
        if benchmark.average:
            cells[AVERAGE] = [sum(v) / len(v) for v in zip(*cells.values())]  # NaN if one is
        rows.append({METHOD: f"{method} ({variant})" if variant else method, **cells})
    columns = [METHOD, *(c.label for c in benchmark.columns)]
    return rows, [*columns, AVERAGE] if benchmark.average else columns


def report(
    benchmark: Benchmark,
    runs: Sequence[Run],
    output: str | Path,
    *,
    metrics: Sequence[str] = (),
    command: str = "",
    choices: Sequence[Choice] = (),
    against: Sequence[tuple[str, str]] = (),
) -> list[str]:
    """Write ``table_<metric>.md`` and ``.json`` for each metric, named without its task.

    So ``voc/AP50_11pt`` is in ``table_AP50_11pt.md``, ``teacher/voc/AP50_11pt`` in
    ``table_teacher_AP50_11pt.md`` and ``voc/AP50_11pt/cat`` in ``table_AP50_11pt_cat.md``. An
    earlier table with other results is kept: see :mod:`.table_files`.

    Args:
        benchmark, runs: as for :func:`make_rows`.
        output: folder of the sweep.
        metrics: () = the benchmark's.
        command: that made the results.
        choices: of settings, if there were any, to tell of.
        against: (method, base) to be compared, of :func:`~.differences.read_pairs`; those of
            which a row is missing are left out.

    Returns:
        the tables as text, for a terminal.
    """
    seeds = list(dict.fromkeys(run.seed for run in runs))
    missing = [str(run) for run in runs if read_scores(run) is None]
    texts = []
    for metric in metrics or benchmark.metrics:
        rows, columns = make_rows(benchmark, runs, metric)
        methods = [method for method, _ in dict.fromkeys((r.method, r.variant) for r in runs)]
        compared = compare(
            rows,
            methods,
            [AVERAGE] if benchmark.average else [c.label for c in benchmark.columns],
            seeds,
            against,
        )
        figures, where_from = published_column(benchmark, metric, methods)
        if figures:
            columns = [*columns, COLUMN]
            rows = [{**row, COLUMN: cell} for row, cell in zip(rows, figures)]
        title = f"{benchmark.title}, {_without_task(metric)} in percent"
        over = "Mean ± sample standard deviation over seeds" if len(seeds) > 1 else "Seed"
        notes = [f"{over} {', '.join(map(str, seeds))}; the last checkpoint of each run."]
        if missing:
            some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            notes.append(f"{len(missing)} of {len(runs)} runs are not complete: {some}.")
        notes += [_describe(choice) for choice in choices] + where_from
        shown = [difference_table(compared), ""] if compared else []
        texts.append("\n".join([format_table(rows, columns, title), "", *shown, *notes]))
        if compared:
            notes.insert(0, difference_table(compared, "markdown"))
        notes.append(f"Machine: {describe_machine()}.")
        if command:
            notes.append(f"Command: `{command}`")
        extra = _facts(benchmark, runs, seeds, metric, command, missing, choices)
        extra["differences"] = as_facts(compared)
        stem = f"table_{_without_task(metric).replace('/', '_')}"
        with replaced_table(output, stem) as (path_md, path_json):
            write_results(path_md, path_json, rows, columns, title, notes=notes, extra=extra)
    return texts


def _without_task(metric: str) -> str:
    """``teacher/voc/AP50_11pt/cat`` -> ``teacher/AP50_11pt/cat``; no two tasks share a metric."""
    teacher = "teacher/" if metric.startswith("teacher/") else ""
    task, _, name = metric.removeprefix(teacher).partition("/")
    return teacher + (name or task)


def _describe(choice: Choice) -> str:
    means = ", ".join(
        f"{name or 'as it is'} {mean:.{choice.digits}f}" for name, mean in choice.validation.items()
    )
    text = f"{choice.method}: "
    if choice.variant is None:
        text += "nothing chosen"
    else:
        text += f"{choice.variant or 'as it is'} chosen on {choice.by} ({means})"
    if choice.incomplete:
        names = ", ".join(choice.incomplete)
        text += f"; not considered, because a run is not complete or has no score: {names}"
    return text + "."


def _facts(
    benchmark: Benchmark,
    runs: Sequence[Run],
    seeds: Sequence[int],
    metric: str,
    command: str,
    missing: Any,
    choices: Sequence[Choice],
) -> dict[str, Any]:
    return {
        "benchmark": benchmark.name,
        "metric": metric,
        "seeds": seeds,
        "command": command,
        "machine": describe_machine(),
        "missing": missing,
        "choices": [
            {"method": c.method, "variant": c.variant, "by": c.by, "validation": c.validation}
            for c in choices
        ],
        "runs": [str(run.folder) for run in runs],
        "published": [
            {"method": f.method, "percent": f.percent, "source": str(f.source)}
            for f in published(benchmark, metric, [run.method for run in runs])
        ],
    }


def describe_machine() -> str:
    """Processor, graphics cards and versions, as far as they can be found out."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = [x for x in info.read_text().splitlines() if x.startswith("model name")]
        cpu = names[0].partition(":")[2].strip() if names else cpu
    gpus = {torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    parts = [f"{cpu}, {os.cpu_count()} cores", ", ".join(sorted(gpus)) or "no GPU"]
    parts.append(f"Python {platform.python_version()}, torch {torch.__version__}")
    return "; ".join([*parts, f"Detectron2 {detectron2.__version__}"])
