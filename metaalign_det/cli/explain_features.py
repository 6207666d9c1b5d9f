"""Whether the domains lie together and the classes apart in feature space, drawn and measured.

Reads the runs' config.yaml and checkpoints, and images of the source and the target with their
labels. Features are those of whole images (pooled) and of ground-truth objects (detectors). Writes
image_pca.png, image_tsne.png, object_pca.png and object_tsne.png (all runs in one embedding),
separation.png, features.json and features.md: domain accuracy of a linear classifier, proxy
A-distance, MMD, silhouette of the classes, nearest class, each beside its level under chance.

example:
  metaalign-det explain features output/demo
  metaalign-det explain features SW-DA=output/a SW-DA+MetaAlign=output/b --images 300
"""

from __future__ import annotations

import argparse

import numpy as np

from ..errors import UserError
from ..explain.embedding import EMBEDDINGS, embed_together
from ..explain.feature_pictures import draw_embedding, draw_separation
from ..explain.features import LEVELS, Features, balanced, extract_features
from ..explain.record import Progress, Record, markdown_table
from ..explain.runs import open_runs
from ..explain.samples import classes_of, default_sets, read_samples
from ..explain.separation import measure_separation

_PICTURES = {(level, kind): f"{level}_{kind}.png" for level in LEVELS for kind in EMBEDDINGS}
_FILES = (*_PICTURES.values(), "separation.png", "features.json", "features.md")
_TITLES = {"pca": "PCA", "tsne": "t-SNE"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--source", metavar="NAME|FOLDER", help="default: the set of DATASETS.TEST named most "
        "like DATASETS.TRAIN, or that one itself")  # fmt: skip
    add("--target", metavar="NAME|FOLDER", help="default: the set of DATASETS.TEST named most "
        "like DATASETS.TARGET")  # fmt: skip
    add("--images", type=int, default=150, metavar="N", help="of each domain, drawn at random; "
        "0 = all (default: 150)")  # fmt: skip
    add("--points", type=int, default=250, metavar="N", help="most features of a domain that are "
        "embedded and measured (default: 250)")  # fmt: skip
    add("--checkpoint", default="", metavar="NAME", help="file in the runs (default: the last)")


def run(args: argparse.Namespace, progress: Progress) -> int:
    record = Record(args.output, _FILES, args.overwrite)
    if args.images < 0 or args.points < 10:
        raise UserError("--images must be 0 or more and --points 10 or more")
    runs = open_runs(args.runs)
    source, target = default_sets([r.cfg for r in runs])
    source, target = args.source or source, args.target or target
    print(f"reading {len(runs)} runs ({', '.join(r.label for r in runs)}), {source} and {target}")
    by_level: dict[str, dict[str, Features]] = {level: {} for level in LEVELS}
    for one in runs:
        samples = [
            read_samples(one.cfg, where, args.images, args.seed, domain)
            for domain, where in enumerate((source, target))
        ]
        found = extract_features(one, samples, checkpoint=args.checkpoint, progress=progress)
        for level, features in found.items():
            # The same examples of every run: the generator starts anew.
            rng = np.random.default_rng(args.seed)
            by_level[level][one.label] = balanced(features, args.points, rng)
    by_level = {level: found for level, found in by_level.items() if found}
    measured = {
        level: {
            label: measure_separation(features, args.seed)
            for label, features in progress(found.items(), f"{level} features: numbers")
        }
        for level, found in by_level.items()
    }
    written = ["separation.png", "features.json", "features.md"]
    for level, found in by_level.items():
        for kind in progress(EMBEDDINGS, f"{level} features: embedding"):
            points = embed_together([f.x for f in found.values()], kind, args.seed)
            count = len(next(iter(found.values())).x) // 2
            draw_embedding(
                record.path(_PICTURES[level, kind]),
                dict(zip(found, points)),
                found,
                classes_of(target),
                f"{_TITLES[kind]} of {level} features, one embedding for all runs, {count} of each "
                "domain",
            )
            written.append(_PICTURES[level, kind])
    draw_separation(record.path("separation.png"), measured)
    settings = {
        "source": source,
        "target": target,
        "seed": args.seed,
        "checkpoints": {r.label: str(r.checkpoint(args.checkpoint)) for r in runs},
        "examples": {k: {run: len(f.x) for run, f in v.items()} for k, v in by_level.items()},
    }
    numbers = {
        level: {run: {k: m.as_dict() for k, m in of_run.items()} for run, of_run in runs_.items()}
        for level, runs_ in measured.items()
    }
    record.write_json("features.json", {"settings": settings, "levels": numbers})
    parts = _tables(measured, settings)
    record.write_markdown("features.md", "Feature space", parts, args.argv)
    print("\n\n".join(parts))
    print(f"\nwritten to {record.folder}: {', '.join(sorted(written))}")
    return 0


def _tables(measured: dict, settings: dict) -> list[str]:
    parts = [
        f"Source {settings['source']}, target {settings['target']}, seed {settings['seed']}. In "
        "brackets the 95 % range under chance (permuted labels). Domains: lower is closer. "
        "Classes: higher is clearer. *Nearest class*: share of target examples whose nearest "
        "source example has their class."
    ]
    for level, of_runs in measured.items():
        names = list(dict.fromkeys(name for found in of_runs.values() for name in found))
        rows = [
            [
                run,
                *(
                    f"{m.value:.3f} ({m.chance_low:.3f} to {m.chance_high:.3f})"
                    for m in (found[name] for name in names)
                ),
            ]
            for run, found in of_runs.items()
        ]
        columns = [f"{level} features", *(name.replace("_", " ") for name in names)]
        parts.append(markdown_table(columns, rows))
    return parts
