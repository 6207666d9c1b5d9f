"""The attention of runs as pictures, JSON and Markdown: ``metaalign-det explain attention``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .attention import METHODS, TASK
from .attention_pictures import draw_attention, draw_focus
from .attention_study import Attention, choose_shown, study_attention, summarise
from .record import Progress, Record, Written, markdown_table, quietly
from .runs import open_runs
from .samples import default_sets, read_samples

logger = logging.getLogger(__name__)

_TITLES = {"gradcam": "Grad-CAM", "layercam": "LayerCAM", "gradient": "Gradient norm"}
_FILES = ("attention.jpg", "attention_focus.png", "attention.json", "attention.md")


def attention_report(
    runs: Sequence[str],
    output: str | Path,
    *,
    data: str | None = None,
    domain: str | None = None,
    method: str = "layercam",
    objectives: Sequence[str] | None = None,
    layer: str = "",
    images: int = 200,
    show: int = 6,
    checkpoint: str = "",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = quietly,
    command: str = "",
) -> Written:
    """Draw and measure where runs look.

    Args:
        runs: see :func:`.runs.open_runs`.
        output: folder to write into.
        data: data set, folder or file; default the target of :func:`.samples.default_sets`.
        domain: "source" or "target", what the images are of; default "target" unless ``data`` is
            a source data set of the first run.
        method: which maps to draw, one of ``METHODS``; all are measured.
        objectives: which to draw, in this order; default all.
        layer: module to look at; default the maps that each objective reads.
        images: how many are measured, drawn at random; 0 = all.
        show: how many of them are drawn.
        checkpoint: file name in the runs; default the last.
        seed: of the drawing of images and the bootstrap.
        overwrite: replace the files of an earlier call.
        progress: wraps long loops.
        command: to be quoted on the page.

    Raises:
        UserError: something asked for does not exist, or a file would be overwritten.
    """
    record = Record(output, _FILES, overwrite)
    if images < 0 or show < 1:
        raise UserError("--images must be 0 or more and --show 1 or more")
    opened = open_runs(runs)
    source, target = default_sets([r.cfg for r in opened])
    where = data or target
    is_source = where == source or where in opened[0].cfg.DATASETS.TRAIN
    domain = domain or ("source" if is_source else "target")
    logger.info(
        "reading %d runs (%s) and %s", len(opened), ", ".join(r.label for r in opened), where
    )
    studies: list[Attention] = []
    shown: list[int] = []
    for run in opened:
        samples = read_samples(run.cfg, where, images, seed, 0 if domain == "source" else 1)
        shown = shown or choose_shown(samples, show)
        study = study_attention(
            run,
            samples,
            shown,
            domain=domain,
            layer=layer,
            checkpoint=checkpoint,
            progress=progress,
        )
        studies.append(study)
    drawn = _chosen(objectives, studies)
    summary = summarise(studies, seed)
    draw_attention(
        record.path("attention.jpg"),
        [samples[i].rgb(opened[-1].cfg) for i in shown],
        [samples[i].boxes for i in shown],
        studies,
        method,
        drawn,
        f"{_TITLES[method]} on {where}",
    )
    if any(
        "focus" in found[method] for of_run in summary["runs"].values() for found in of_run.values()
    ):
        draw_focus(record.path("attention_focus.png"), summary["runs"], method, drawn)
    settings = {
        "data": where,
        "domain": domain,
        "images": len(samples),
        "shown": [samples[i].file_name for i in shown],
        "seed": seed,
        "checkpoints": {r.label: str(r.checkpoint(checkpoint)) for r in opened},
        "layers": {s.label: s.layer or "as each objective reads" for s in studies},
    }
    record.write_json("attention.json", {"settings": settings, **_plain(summary)})
    parts = _tables(summary, drawn, settings)
    return record.finish("attention.md", "Where it looks", parts, command)


def _chosen(asked: Sequence[str] | None, studies: list[Attention]) -> list[str]:
    there = list(dict.fromkeys(o for s in studies for o in s.meters))
    unknown = [o for o in asked or [] if o not in there]
    if unknown:
        raise UserError(f"--objectives: no {', '.join(unknown)} here; there: {', '.join(there)}")
    return list(asked or [TASK, *(o for o in there if o != TASK)])


def _tables(summary: dict, objectives: list[str], settings: dict) -> list[str]:
    parts = [
        f"{settings['images']} images of {settings['data']} ({settings['domain']} domain), seed "
        f"{settings['seed']}. *Focus*: attention inside ground-truth boxes over their share of the "
        "area, mean over images with a 95 % bootstrap interval; 1 is chance, and *others'* is "
        "the same maps on other images' boxes. *Overlap*: share of an objective's attention that "
        "falls where the task's does (*elsewhere*: with the task's map of another image). *Minus "
        "first*: focus minus that of the first run with the objective, same images."
    ]
    for method in METHODS:
        rows = [
            [
                f"{objective}, {run}",
                *_cells(found[objective][method], summary, run, objective, method),
            ]
            for objective in objectives
            for run, found in summary["runs"].items()
            if objective in found
        ]
        # Without boxes, or with one image, some columns have nothing to say.
        said = [i for i in range(len(_COLUMNS)) if any(row[i] != "–" for row in rows)]
        if len(said) > 1:
            columns = [_COLUMNS[i] for i in said]
            table = markdown_table(columns, [[row[i] for i in said] for row in rows])
            parts += [f"**{_TITLES[method]}**", table]
    if len(parts) == 1:
        parts.append("No numbers: they take ground-truth boxes, or at least two images.")
    return parts


_COLUMNS = ("", "images", "focus", "others'", "minus first", "overlap", "elsewhere")


def _cells(entry: dict, summary: dict, run: str, objective: str, method: str) -> list[str]:
    minus = summary["minus_first"][run].get(objective, {}).get(method)
    return [
        str(entry.get("images", "–")),
        str(entry.get("focus", "–")),
        _number(entry.get("focus_other_boxes")),
        str(minus or "–"),
        _number(entry.get("overlap_with_task")),
        _number(entry.get("overlap_with_task_elsewhere")),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.2f}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.as_dict() if hasattr(value, "as_dict") else value
