"""Mini VOC->Watercolor on disk: the VOC trees, drawn by one or several processes."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from tqdm import tqdm

from ..errors import UserError
from ..roots import datasets_root
from . import manifest
from .generate import Recipe, image_id, write_split_images
from .splits import (
    CLASSES,
    COLLECTIONS,
    FOLDER,
    OPENMOJI_FOLDER,
    PHOTO_LARGE_FOLDER,
    Split,
    resolve_sizes,
)
from .sprites import SPRITE_SETS, check_wheels
from .store import build_once, read_manifest

logger = logging.getLogger(__name__)

OBJECT_COUNTS = "objects.json"
_CHUNK = 20  # images per task of a worker


def ensure_mini_voc2watercolor(
    root: str | Path | None = None,
    *,
    seed: int = 0,
    strength: float = 0.75,
    stylization: float = 0.0,
    target_sprites: Sequence[str] = ("twemoji",),
    sizes: Mapping[str, int] | None = None,
    progress: bool = True,
    workers: int = 1,
) -> Path:
    """Generate the data unless the same is already there.

    Written beside its place and renamed when complete; several processes may call this at once
    (see ``store.build_once``).

    Args:
        root: folder of all data sets; default ``$DETECTRON2_DATASETS``, else ``./datasets``.
        seed: whole number >= 0; one seed and one set of library versions give the same bytes,
            however many workers draw them.
        strength: of the watercolour, 0 (looks like the source) to 1.
        stylization: share of ``cv2.stylization`` in it, 0 to 0.35.
        target_sprites: designers of the watercolour domain's sprites, of "twemoji" and "openmoji".
        sizes: number of images by data set name (see ``mini_splits``) where not the default.
        progress: show a progress bar.
        workers: processes that draw. With more than 1 the calling script must be guarded by
            ``if __name__ == "__main__"``.

    Returns:
        ``<root>/mini_voc2watercolor``, with the VOC trees ``photo``, ``watercolor`` and ``mixed``,
        ``manifest.json``, and ``objects.json`` with the number of objects per data set and class.

    Raises:
        UserError: a value out of range, a missing wheel, a folder of that name that this function
            did not make, files missing from one that it made, or a root that cannot be written.
    """
    recipe = Recipe(seed, strength, stylization, tuple(target_sprites))
    return _ensure(FOLDER, recipe, root, sizes, progress, workers)


def ensure_mini_openmoji(
    root: str | Path | None = None,
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    progress: bool = True,
    workers: int = 1,
) -> Path:
    """The hard target, ``<root>/mini_openmoji``: OpenMoji sprites, watercolor of strength 1.

    Args, Returns, Raises: as :func:`ensure_mini_voc2watercolor`; the tree is ``watercolor``.
    """
    recipe = Recipe(seed, 1.0, 0.0, ("openmoji",))
    return _ensure(OPENMOJI_FOLDER, recipe, root, sizes, progress, workers)


def ensure_mini_photo_large(
    root: str | Path | None = None,
    *,
    seed: int = 0,
    sizes: Mapping[str, int] | None = None,
    progress: bool = True,
    workers: int = 1,
) -> Path:
    """More source training images, ``<root>/mini_photo_large``, drawn as ``mini_photo_train``.

    Args, Returns, Raises: as :func:`ensure_mini_voc2watercolor`; the tree is ``photo``.
    """
    return _ensure(PHOTO_LARGE_FOLDER, Recipe(seed), root, sizes, progress, workers)


def ensure_collection(name: str, *, workers: int = 1) -> None:
    """Generate a collection where there is no folder of its name; what is there is kept as it is.

    Args:
        name: folder below that of all data sets, a key of ``splits.COLLECTIONS``.
        workers: processes that draw, as in :func:`ensure_mini_voc2watercolor`.

    Raises:
        UserError: as :func:`ensure_mini_voc2watercolor`.
    """
    if not (datasets_root() / name).exists():
        ensure = {
            FOLDER: ensure_mini_voc2watercolor,
            OPENMOJI_FOLDER: ensure_mini_openmoji,
            PHOTO_LARGE_FOLDER: ensure_mini_photo_large,
        }
        ensure[name](workers=workers)


def _ensure(
    name: str,
    recipe: Recipe,
    root: str | Path | None,
    sizes: Mapping[str, int] | None,
    progress: bool,
    workers: int,
) -> Path:
    """Generate one of ``COLLECTIONS`` unless the same is already there."""
    splits = COLLECTIONS[name]
    resolved = resolve_sizes(sizes, splits)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise UserError(f"workers must be a whole number from 1, not {workers!r}")
    folder = datasets_root(root) / name
    wanted = manifest.expected(recipe, resolved)
    found = read_manifest(folder)
    if found is not None and found.get("generator") == manifest.GENERATOR:
        changed = manifest.difference(found, wanted)
        if changed is None:
            _check_complete(folder, resolved, splits)
            logger.info("the miniature is in %s already", folder)
            return folder
        logger.info("%s is generated anew: %s", folder, changed)

    check_wheels(SPRITE_SETS)
    logger.info("generating %d images: %s", sum(resolved.values()), folder)
    return build_once(
        folder,
        wanted,
        lambda staging: _generate(staging, recipe, resolved, splits, progress, workers),
    )


def _check_complete(folder: Path, sizes: Mapping[str, int], splits: Sequence[Split]) -> None:
    """Complain about files that somebody deleted; the generator itself leaves no gaps."""
    for split in splits:
        voc = folder / split.domain
        names = [image_id(split, i) for i in range(sizes[split.name])]
        wanted = {Path("ImageSets/Main", f"{split.split}.txt")}
        wanted |= {Path("JPEGImages", f"{name}.jpg") for name in names}
        wanted |= {Path("Annotations", f"{name}.xml") for name in names}
        for part in sorted({path.parent for path in wanted}):
            there = set(os.listdir(voc / part)) if (voc / part).is_dir() else set()
            missing = sorted(p.name for p in wanted if p.parent == part and p.name not in there)
            if missing:
                raise UserError(
                    f"{voc / part / missing[0]} is missing ({len(missing)} such files): delete "
                    f"{folder}, it will be generated anew"
                )


def _generate(
    staging: Path,
    recipe: Recipe,
    sizes: Mapping[str, int],
    splits: Sequence[Split],
    progress: bool,
    workers: int,
) -> None:
    """Write all VOC trees and the object counts below ``staging``, an empty folder."""
    tasks: list[tuple[Split, range]] = []
    for split in splits:
        voc, total = staging / split.domain, sizes[split.name]
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (voc / part).mkdir(parents=True, exist_ok=True)
        listing = "".join(f"{image_id(split, i)}\n" for i in range(total))
        (voc / "ImageSets" / "Main" / f"{split.split}.txt").write_text(listing, encoding="utf-8")
        tasks += [(split, range(i, min(i + _CHUNK, total))) for i in range(0, total, _CHUNK)]

    counts = {split.name: dict.fromkeys(CLASSES, 0) for split in splits}
    bar = tqdm(
        total=sum(sizes.values()), desc="mini data", unit="img", disable=not progress, mininterval=1
    )
    with bar:
        for split, indices, found in _run(tasks, recipe, staging, workers):
            for name, count in zip(CLASSES, found, strict=True):
                counts[split.name][name] += count
            bar.update(len(indices))
    (staging / OBJECT_COUNTS).write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")


def _run(
    tasks: Sequence[tuple[Split, range]], recipe: Recipe, staging: Path, workers: int
) -> Iterator[tuple[Split, range, list[int]]]:
    """Yield each task with its objects per class as it is done, in any order."""
    if workers == 1:
        for split, indices in tasks:
            found = write_split_images(recipe, split, indices, staging / split.domain)
            yield split, indices, found
        return
    # Not fork: the caller may have threads of torch or OpenCV, which do not survive it. The fork
    # server imports the package once for all workers, where spawn would do so in each.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([write_split_images.__module__])
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = {
            pool.submit(write_split_images, recipe, split, indices, staging / split.domain): (
                split,
                indices,
            )
            for split, indices in tasks
        }
        try:
            for future in as_completed(futures):
                yield (*futures[future], future.result())
        finally:
            pool.shutdown(cancel_futures=True)
