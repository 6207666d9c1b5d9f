"""Where the task and the domain discriminators look, as pictures and as a number.

Reads the runs' config.yaml and checkpoints and the images of --data. Writes attention.jpg (maps
over some images), attention_focus.png (for detectors: attention inside ground-truth boxes over
their area, 1 = chance, with a 95 % interval over images), attention.json and attention.md. Maps
are Grad-CAM, LayerCAM or the norm of the objective's gradient; the numbers are given for all three.

example:
  metaalign-det explain attention output/demo
  metaalign-det explain attention output/demo --data my_photos/ --domain target
"""

from __future__ import annotations

import argparse

from ..errors import UserError
from ..explain.attention import METHODS, TASK
from ..explain.attention_pictures import draw_attention, draw_focus
from ..explain.attention_study import Attention, choose_shown, study_attention, summarise
from ..explain.record import Progress, Record, markdown_table
from ..explain.runs import open_runs
from ..explain.samples import default_sets, read_samples

_FILES = ("attention.jpg", "attention_focus.png", "attention.json", "attention.md")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--data", metavar="NAME|FOLDER|FILE", help="default: the set of DATASETS.TEST named most "
        "like DATASETS.TARGET")  # fmt: skip
    add("--domain", choices=("source", "target"), help="that the images are of (default: target, "
        "unless --data is a source data set of the run)")  # fmt: skip
    add("--method", choices=METHODS, default="layercam", help="drawn (default: layercam)")
    add("--objectives", nargs="+", metavar="NAME", help="drawn, e.g. task global (default: all)")
    add("--layer", default="", metavar="MODULE", help="look at this module's output, e.g. "
        "backbone.res3 (default: the feature maps that each objective reads)")  # fmt: skip
    add("--images", type=int, default=200, metavar="N", help="images measured, drawn at random; "
        "0 = all (default: 200)")  # fmt: skip
    add("--show", type=int, default=6, metavar="N", help="of them drawn (default: 6)")
    add("--checkpoint", default="", metavar="NAME", help="file in the runs (default: the last)")


def run(args: argparse.Namespace, progress: Progress) -> int:
    record = Record(args.output, _FILES, args.overwrite)
    if args.images < 0 or args.show < 1:
        raise UserError("--images must be 0 or more and --show 1 or more")
    runs = open_runs(args.runs)
    source, target = default_sets([r.cfg for r in runs])
    where = args.data or target
    is_source = where == source or where in runs[0].cfg.DATASETS.TRAIN
    domain = args.domain or ("source" if is_source else "target")
    number = 0 if domain == "source" else 1
    print(f"reading {len(runs)} runs ({', '.join(r.label for r in runs)}) and {where}")
    studies, shown = [], []
    for one in runs:
        samples = read_samples(one.cfg, where, args.images, args.seed, number)
        shown = shown or choose_shown(samples, args.show)
        study = study_attention(
            one,
            samples,
            shown,
            domain=domain,
            layer=args.layer,
            checkpoint=args.checkpoint,
            progress=progress,
        )
        studies.append(study)
    summary = summarise(studies, args.seed)
    objectives = _chosen(args.objectives, studies)
    images = [samples[i].rgb(runs[-1].cfg) for i in shown]
    boxes = [samples[i].boxes for i in shown]
    title = f"{args.method} on {where} (a number: attention inside boxes / their area)"
    draw_attention(
        record.path("attention.jpg"), images, boxes, studies, args.method, objectives, title
    )
    written = ["attention.jpg"]
    if any("focus" in m[args.method] for r in summary["runs"].values() for m in r.values()):
        draw_focus(record.path("attention_focus.png"), summary["runs"], args.method, objectives)
        written.append("attention_focus.png")
    settings = {
        "data": where,
        "domain": domain,
        "images": len(samples),
        "shown": [samples[i].file_name for i in shown],
        "seed": args.seed,
        "checkpoints": {r.label: str(r.checkpoint(args.checkpoint)) for r in runs},
        "layers": {s.label: s.layer or "as each objective reads" for s in studies},
    }
    record.write_json("attention.json", {"settings": settings, **_plain(summary)})
    parts = _tables(summary, objectives, settings)
    record.write_markdown("attention.md", "Where it looks", parts, args.argv)
    print("\n\n".join(parts))
    print(
        f"\nwritten to {record.folder}: {', '.join([*written, 'attention.json', 'attention.md'])}"
    )
    return 0


def _chosen(asked: list[str] | None, studies: list[Attention]) -> list[str]:
    there = list(dict.fromkeys(o for s in studies for o in s.meters))
    unknown = [o for o in asked or [] if o not in there]
    if unknown:
        raise UserError(f"--objectives: no {', '.join(unknown)} here; there: {', '.join(there)}")
    return asked or [TASK, *(o for o in there if o != TASK)]


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
        rows = []
        for objective in objectives:
            for run, found in summary["runs"].items():
                if objective in found:
                    entry = found[objective][method]
                    minus = summary["minus_first"][run].get(objective, {}).get(method)
                    rows.append(
                        [
                            f"{objective}, {run}",
                            entry.get("images", "–"),
                            entry.get("focus", "–"),
                            _number(entry.get("focus_other_boxes")),
                            minus or "–",
                            _number(entry.get("overlap_with_task")),
                            _number(entry.get("overlap_with_task_elsewhere")),
                        ]
                    )
        columns = ["", "images", "focus", "others'", "minus first", "overlap", "elsewhere"]
        parts += [f"**{method}**", markdown_table(columns, rows)]
    return parts


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.2f}"


def _plain(value):
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.as_dict() if hasattr(value, "as_dict") else value
