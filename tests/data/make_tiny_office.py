"""Make tiny trees in the real layouts of the classification benchmarks, to try configs on.

python -m tests.data.make_tiny_office /tmp/tiny
DETECTRON2_DATASETS=/tmp/tiny tools/train_net.py --config-file configs/... SOLVER.MAX_ITER 5

The images show noise of a colour per class: good for seeing that something runs, and for no
result whatever. DomainNet gets 345 made-up class names, since ours are read from its lists.
"""

from __future__ import annotations

import argparse
import colorsys
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from metaalign_det.data.catalog.builtin_classification import (
    DOMAINNET_DOMAINS,
    OFFICE31_CLASSES,
    OFFICE31_IMAGES,
    OFFICE_HOME_CLASSES,
    OFFICE_HOME_IMAGES,
    PACS_CLASSES,
    PACS_IMAGES,
    VISDA_CLASSES,
    VISDA_IMAGES,
)
from metaalign_det.errors import UserError

DOMAINNET_CLASSES = tuple(f"object_{i:03d}" for i in range(345))

#: (folder of the benchmark, images per class, seed) -> writes it.
Layout = Callable[[Path, int, int], None]


def make_tiny_office(
    root: str | Path,
    per_class: int = 2,
    seed: int = 0,
    *,
    benchmarks: Sequence[str] | None = None,
) -> Path:
    """Write tiny benchmarks below ``root``, which then serves as ``DETECTRON2_DATASETS``.

    Args:
        root: made if it does not exist.
        per_class: images per class and domain; DomainNet has as many again in its test lists.
        seed: of the pictures.
        benchmarks: which of ``office31``, ``office_home``, ``pacs``, ``visda``, ``domainnet``;
            None = all.

    Returns:
        Path: ``root``.

    Raises:
        UserError: a benchmark of that name is already there, or is not known.
    """
    root = Path(root)
    for name in LAYOUTS if benchmarks is None else benchmarks:
        if name not in LAYOUTS:
            raise UserError(f"no benchmark {name!r}; there are: {', '.join(LAYOUTS)}")
        if (root / name).exists():
            raise UserError(f"{root / name} exists already: choose an empty folder")
        LAYOUTS[name](root / name, per_class, seed)
    return root


def _office31(folder: Path, per_class: int, seed: int) -> None:
    for domain in OFFICE31_IMAGES:
        for name in OFFICE31_CLASSES:
            for i in range(1, per_class + 1):
                _picture(folder / domain / "images" / name / f"frame_{i:04d}.jpg", name, seed)


def _office_home(folder: Path, per_class: int, seed: int) -> None:
    for domain in OFFICE_HOME_IMAGES:
        for name in OFFICE_HOME_CLASSES:
            for i in range(1, per_class + 1):
                _picture(folder / domain / name / f"{i:05d}.jpg", name, seed)


def _pacs(folder: Path, per_class: int, seed: int) -> None:
    for domain in PACS_IMAGES:
        lines = []
        for number, name in enumerate(PACS_CLASSES, start=1):  # PACS counts from 1
            for i in range(1, per_class + 1):
                image = f"{domain}/{name}/pic_{i:03d}.jpg"
                _picture(folder / image, name, seed)
                lines.append(f"{image} {number}")
        for split in ("train", "crossval", "test"):
            _write_list(folder / "image_list" / f"{domain}_{split}_kfold.txt", lines)


def _visda(folder: Path, per_class: int, seed: int) -> None:
    for split in VISDA_IMAGES:
        for name in VISDA_CLASSES:
            for i in range(1, per_class + 1):
                _picture(folder / split / name / f"{name}_{i:06d}.jpg", name, seed)


def _domainnet(folder: Path, per_class: int, seed: int) -> None:
    for domain in DOMAINNET_DOMAINS:
        lists: dict[str, list[str]] = {"train": [], "test": []}
        for number, name in enumerate(DOMAINNET_CLASSES):
            for i in range(1, 2 * per_class + 1):
                image = f"{domain}/{name}/{domain}_{number + 1:03d}_{i:06d}.jpg"
                _picture(folder / image, name, seed)
                lists["train" if i <= per_class else "test"].append(f"{image} {number}")
        for split, lines in lists.items():
            _write_list(folder / "image_list" / f"{domain}_{split}.txt", lines)


LAYOUTS: dict[str, Layout] = {
    "office31": _office31,
    "office_home": _office_home,
    "pacs": _pacs,
    "visda": _visda,
    "domainnet": _domainnet,
}


def _picture(file: Path, class_name: str, seed: int) -> None:
    """Blotches in the hue of the class, of a size and an aspect of their own."""
    path = "/".join(file.parts[-4:])
    rng = np.random.default_rng([seed, zlib.crc32(path.encode())])
    hue = zlib.crc32(class_name.encode()) / 2**32
    colour = 255 * np.array(colorsys.hsv_to_rgb(hue, 0.7, 0.8))
    blotches = np.clip(colour + rng.normal(0, 40, (4, 4, 3)), 0, 255).astype(np.uint8)
    size = tuple(rng.integers(40, 80, 2).tolist())
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blotches).resize(size, Image.Resampling.BICUBIC).save(file, quality=80)


def _write_list(file: Path, lines: list[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, help="folder to write to")
    parser.add_argument("--per-class", type=int, default=2, help="images per class and domain")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--benchmarks", nargs="+", choices=list(LAYOUTS), help="default: all")
    args = parser.parse_args(argv)
    try:
        print(make_tiny_office(args.root, args.per_class, args.seed, benchmarks=args.benchmarks))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
