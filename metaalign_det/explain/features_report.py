"""Feature spaces of runs as pictures, JSON and Markdown: ``metaalign-det explain features``."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.catalog.classes import run_classes
from ..errors import UserError
from .embedding import EMBEDDINGS, embed_together
from .feature_pictures import draw_embedding, draw_separation
from .features import LEVELS, Features, balanced, extract_features
from .record import Progress, Record, Written, markdown_table, quietly
from .runs import open_runs
from .samples import default_sets, read_samples
from .separation import exchangeable, measure_separation

logger = logging.getLogger(__name__)

_PICTURES = {(level, kind): f"{level}_{kind}.png" for level in LEVELS for kind in EMBEDDINGS}
_FILES = (*_PICTURES.values(), "separation.png", "features.json", "features.md")
_TITLES = {"pca": "PCA", "tsne": "t-SNE"}
_EXCHANGEABLE = 0.5  # of the target's objects, below which a note says so


def features_report(
    runs: Sequence[str],
    output: str | Path,
    *,
    source: str | None = None,
    target: str | None = None,
    images: int = 150,
    points: int = 250,
    checkpoint: str = "",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress = quietly,
    command: str = "",
) -> Written:
    """Draw and measure how domains and classes lie in the feature spaces of runs.

    Args:
        runs: see :func:`.runs.open_runs`; of one architecture, since they share an embedding.
        output: folder to write into.
        source, target: data set or folder; default see :func:`.samples.default_sets`.
        images: of each domain, drawn at random; 0 = all.
        points: most features of a domain that are embedded and measured.
        checkpoint: file name in the runs; default the last.
        seed: of all that is drawn at random, and of t-SNE.
        overwrite: replace the files of an earlier call.
        progress: wraps long loops.
        command: to be quoted on the page.

    Raises:
        UserError: something asked for does not exist, or a file would be overwritten.
    """
    record = Record(output, _FILES, overwrite)
    if images < 0 or points < 10:
        raise UserError("--images must be 0 or more and --points 10 or more")
    opened = open_runs(runs)
    sets = default_sets([r.cfg for r in opened])
    sets = (source or sets[0], target or sets[1])
    names = ", ".join(r.label for r in opened)
    logger.info("reading %d runs (%s), %s and %s", len(opened), names, *sets)
    by_level: dict[str, dict[str, Features]] = {level: {} for level in LEVELS}
    for run in opened:
        samples = [
            read_samples(run.cfg, where, images, seed, domain) for domain, where in enumerate(sets)
        ]
        found = extract_features(run, samples, checkpoint=checkpoint, progress=progress)
        for level, features in found.items():
            # The same examples of every run: the generator starts anew.
            rng = np.random.default_rng(seed)
            by_level[level][run.label] = balanced(features, points, rng)
    by_level = {level: found for level, found in by_level.items() if found}
    measured = {
        level: {
            label: measure_separation(features, seed)
            for label, features in progress(found.items(), f"{level} features: numbers")
        }
        for level, found in by_level.items()
    }
    for level, found in by_level.items():
        count = len(next(iter(found.values())).x) // 2
        for kind in progress(EMBEDDINGS, f"{level} features: embedding"):
            embedded = embed_together([f.x for f in found.values()], kind, seed)
            draw_embedding(
                record.path(_PICTURES[level, kind]),
                dict(zip(found, embedded)),
                found,
                run_classes(opened[0].cfg) or (),
                f"{_TITLES[kind]} of {level} features, one embedding for all runs, {count} of each "
                "domain",
            )
    draw_separation(record.path("separation.png"), measured)
    settings = {
        "source": sets[0],
        "target": sets[1],
        "seed": seed,
        "checkpoints": {r.label: str(r.checkpoint(checkpoint)) for r in opened},
        "examples": {k: {run: len(f.x) for run, f in v.items()} for k, v in by_level.items()},
        "images": {
            k: {run: len(np.unique(f.images)) for run, f in v.items()} for k, v in by_level.items()
        },
    }
    numbers = {
        level: {run: {k: m.as_dict() for k, m in found.items()} for run, found in of_runs.items()}
        for level, of_runs in measured.items()
    }
    record.write_json("features.json", {"settings": settings, "levels": numbers})
    parts = [*_tables(measured, settings), *_notes(by_level)]
    return record.finish("features.md", "Feature space", parts, command)


def _tables(measured: dict, settings: dict) -> list[str]:
    parts = [
        f"Source {settings['source']}, target {settings['target']}, seed {settings['seed']}. In "
        "brackets the 95 % range under chance (permuted labels; objects of an image stay "
        "together). Domains: lower is closer. Classes: higher is clearer. *Nearest class*: share "
        "of target examples whose nearest source example has their class."
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


def _notes(by_level: Mapping[str, Mapping[str, Features]]) -> list[str]:
    """Whether images are too few for the chance of the numbers of classes."""
    notes = []
    for level, of_runs in by_level.items():
        features = next(iter(of_runs.values()))
        share = exchangeable(features.images[features.domains == 1])
        if share < _EXCHANGEABLE:
            notes.append(
                f"Chance of the {level} features' classes is close to what was measured and says "
                f"little: {100 * share:.0f} % of the target's examples are in images with as many "
                "examples as another, between which classes are permuted. Give more --images."
            )
    return notes
