"""Whether the gradients of task and alignment agree, stage by stage and along the alignment step.

Reads the runs' config.yaml, checkpoints and training data (source with labels, target without).
Writes gradients.png, gradients.json and gradients.md, and with --over-training (every checkpoint
of a run) gradients_training.png: cosine and inner product of both gradients, at theta and at
theta - alpha g, norms of both halves of the gradient of their inner product, with 95 % intervals
over batches. Runs without alignment are left out.

example:
  metaalign-det explain gradients output/demo
  metaalign-det explain gradients output/demo --over-training --batches 8
"""

from __future__ import annotations

import argparse

from ..errors import UserError
from ..explain.agreement import WHOLE, Agreement, aligns, averages, measure_agreement
from ..explain.agreement_pictures import draw_agreement, draw_over_training
from ..explain.record import Progress, Record, markdown_table
from ..explain.runs import RunFolder, open_runs

_FILES = ("gradients.png", "gradients_training.png", "gradients.json", "gradients.md")
_ALPHAS = (-0.3, -0.1, -0.03, 0.03, 0.1, 0.3)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--batches", type=int, default=12, metavar="N", help="training batches (default: 12)")
    add("--alphas", type=float, nargs="*", default=_ALPHAS, metavar="A", help="lengths of the step "
        f"along -g (default: {' '.join(map(str, _ALPHAS))})")  # fmt: skip
    add("--over-training", action="store_true", help="every checkpoint of each run, not the last "
        "alone")  # fmt: skip
    add("--first-order", action="store_true", help="leave out both halves, which take second "
        "derivatives")  # fmt: skip


def run(args: argparse.Namespace, progress: Progress) -> int:
    names = [n for n in _FILES if args.over_training or n != "gradients_training.png"]
    record = Record(args.output, names, args.overwrite)
    if args.batches < 2:
        raise UserError("--batches must be at least 2: intervals are over batches")
    given = open_runs(args.runs)
    runs = [r for r in given if aligns(r)]
    if not runs:
        raise UserError(
            f"none of {', '.join(r.label for r in given)} aligns anything: gradients can be held "
            "against each other where a discriminator or MODEL.ALIGN.METHOD was on"
        )
    left_out = [r.label for r in given if r not in runs]
    note = f"; left out, without alignment: {', '.join(left_out)}" if left_out else ""
    print(f"reading {len(runs)} runs ({', '.join(r.label for r in runs)}){note}")
    measured = [
        measure_agreement(
            one,
            iteration,
            path,
            batches=args.batches,
            alphas=[a for a in args.alphas if a],
            second_order=not args.first_order,
            seed=args.seed,
            progress=progress,
        )
        for one in runs
        for iteration, path in _checkpoints(one, args.over_training)
    ]
    last = {one.label: one for one in measured}
    draw_agreement(record.path("gradients.png"), list(last.values()))
    if args.over_training:
        draw_over_training(record.path("gradients_training.png"), measured)
    settings = {
        "batches": args.batches,
        "seed": args.seed,
        "data": {r.label: [list(r.cfg.DATASETS.TRAIN), list(r.cfg.DATASETS.TARGET)] for r in runs},
    }
    record.write_json(
        "gradients.json", {"settings": settings, "checkpoints": [_numbers(m) for m in measured]}
    )
    parts = _tables(measured, list(last.values()), args)
    record.write_markdown("gradients.md", "Do the gradients agree?", parts, args.argv)
    print("\n\n".join(parts))
    print(f"\nwritten to {record.folder}: {', '.join(names)}")
    return 0


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


def _tables(measured: list[Agreement], last: list[Agreement], args) -> list[str]:
    parts = [
        f"Mean over {args.batches} training batches with a 95 % interval, seed {args.seed}. g: "
        "gradient of alignment, v: of the task, over the backbone's stages; of norms and changes "
        "the geometric mean. *Two batches*: cosine "
        "of one objective's gradients on two batches, what noise leaves. H_task g and H_A v add up "
        "to the gradient of ⟨g, v⟩. *Curvature*: g'H_task g / |g|²."
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
    if args.over_training:
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
    return f"{found['mean']:.3g} ({found['low']:.2g} to {found['high']:.2g})"
