"""Agreement of gradients as pictures, JSON and Markdown: ``metaalign-det explain gradients``."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from ..errors import UserError
from .agreement import WHOLE, Agreement, aligns, averages, measure_agreement
from .agreement_pictures import draw_agreement, draw_over_training
from .record import Progress, Record, Written, markdown_table, quietly
from .runs import RunFolder, open_runs

logger = logging.getLogger(__name__)

_FILES = ("gradients.png", "gradients_training.png", "gradients.json", "gradients.md")
#: Lengths of the step along -g; negative ones go the other way.
ALPHAS = (-0.3, -0.1, -0.03, 0.03, 0.1, 0.3)


def gradients_report(
    runs: Sequence[str],
    output: str | Path,
    *,
    batches: int = 12,
    alphas: Sequence[float] = ALPHAS,
    over_training: bool = False,
    second_order: bool = True,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = quietly,
    command: str = "",
) -> Written:
    """Draw and measure whether the gradients of task and alignment agree.

    Args:
        runs: see :func:`.runs.open_runs`; those that align nothing are left out.
        output: folder to write into.
        batches: training batches, at least 2.
        alphas: lengths of the step.
        over_training: every checkpoint of each run, not the last alone.
        second_order: measure both halves of the gradient of <g, v>.
        seed: of batches, augmentation and samples.
        overwrite: replace the files of an earlier call.
        progress: wraps long loops.
        command: to be quoted on the page.

    Raises:
        UserError: something asked for does not exist, or a file would be overwritten.
    """
    names = [n for n in _FILES if over_training or n != "gradients_training.png"]
    record = Record(output, names, overwrite)
    if batches < 2:
        raise UserError("--batches must be at least 2: intervals are over batches")
    given = open_runs(runs)
    opened = [r for r in given if aligns(r)]
    if not opened:
        raise UserError(
            f"none of {', '.join(r.label for r in given)} aligns anything: gradients can be held "
            "against each other where a discriminator or MODEL.ALIGN.METHOD was on"
        )
    left_out = [r.label for r in given if r not in opened]
    note = f"; left out, without alignment: {', '.join(left_out)}" if left_out else ""
    logger.info("reading %d runs (%s)%s", len(opened), ", ".join(r.label for r in opened), note)
    measured = [
        measure_agreement(
            run,
            iteration,
            path,
            batches=batches,
            alphas=[a for a in alphas if a],
            second_order=second_order,
            seed=seed,
            progress=progress,
        )
        for run in opened
        for iteration, path in _checkpoints(run, over_training)
    ]
    last = list({one.label: one for one in measured}.values())
    draw_agreement(record.path("gradients.png"), last)
    if over_training:
        draw_over_training(record.path("gradients_training.png"), measured)
    settings = {
        "batches": batches,
        "seed": seed,
        "data": {
            r.label: {"source": r.cfg.DATASETS.TRAIN, "target": r.cfg.DATASETS.TARGET}
            for r in opened
        },
    }
    record.write_json(
        "gradients.json", {"settings": settings, "checkpoints": [_numbers(m) for m in measured]}
    )
    parts = _tables(measured, last, settings, over_training)
    return record.finish("gradients.md", "Do the gradients agree?", parts, command)


def _checkpoints(run: RunFolder, every: bool) -> list[tuple]:
    found = run.checkpoints()
    return found if every else found[-1:]


def _numbers(one: Agreement) -> dict:
    return {
        "run": one.label,
        "iteration": one.iteration,
        "at_theta": averages(one.at_theta),
        "along": {str(alpha): averages(found) for alpha, found in one.along.items()},
    }


def _tables(
    measured: Sequence[Agreement], last: Sequence[Agreement], settings: dict, over_training: bool
) -> list[str]:
    parts = [
        f"Mean over {settings['batches']} training batches with a 95 % interval, seed "
        f"{settings['seed']}. g: gradient of alignment, v: of the task, over the backbone's "
        "stages; of norms and changes the geometric mean. *Two batches*: cosine of one objective's "
        "gradients on two batches, what noise leaves. H_task g and H_A v add up to the gradient of "
        "⟨g, v⟩. *Curvature*: g'H_task g / |g|²."
    ]
    rows = []
    for one in last:
        for stage, found in averages(one.at_theta).items():
            cells = [_cell(found.get(name)) for name in _QUANTITIES]
            rows.append([f"{one.label}, {stage}", *cells])
    parts.append(markdown_table(["", *_QUANTITIES.values()], rows))
    columns = ["", "α", "cosine", "⟨g, v⟩", "change of v", "rise of the task loss"]
    rows = []
    for one in last:
        for alpha, found in sorted(one.along.items()):
            of = averages(found)[WHOLE]
            cells = [_cell(of[k]) for k in ("cosine", "inner", "change", "task_rise")]
            rows.append([one.label, f"{alpha:g}", *cells])
    if rows:
        parts += ["Along the alignment step, at θ − αg, whole backbone:"]
        parts += [markdown_table(columns, rows)]
    rows = [
        [one.label, f"{alpha:g}", stage, *(_cell(of[k]) for k in ("odd", "even"))]
        for one in last
        for alpha, found in sorted(one.along.items())
        for stage, of in averages(found).items()
        if "odd" in of
    ]
    if rows:
        parts += [
            "The two parts of what a lookahead of α changes in v, relative to its length. *Odd*: "
            "changes its sign with α, the agreement of gradients. *Even*: the same on both sides, "
            "a task loss that is flat along g."
        ]
        parts += [markdown_table(["", "α", "stage", "odd", "even"], rows)]
    if over_training:
        rows = [
            [one.label, one.iteration]
            + [_cell(averages(one.at_theta)[WHOLE].get(name)) for name in _QUANTITIES]
            for one in measured
        ]
        parts += ["Over training, whole backbone:"]
        parts += [markdown_table(["", "iteration", *_QUANTITIES.values()], rows)]
    return parts


_QUANTITIES = {
    "cosine": "cosine",
    "inner": "⟨g, v⟩",
    "norm_alignment": "norm of g",
    "norm_task": "norm of v",
    "half_task": "norm of H_task g",
    "half_alignment": "norm of H_A v",
    "curvature": "curvature",
    "cosine_task_batches": "two batches, v",
    "cosine_alignment_batches": "two batches, g",
}


def _cell(found: dict | None) -> str:
    if not found or not found["batches"]:
        return "–"
    if found["batches"] < 3 or math.isnan(found["low"]):
        return f"{found['mean']:.3g}"
    return f"{found['mean']:.3g} ({found['low']:.2g} to {found['high']:.2g})"
