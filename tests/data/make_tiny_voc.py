"""Make tiny VOC2007, VOC2012 and Watercolor trees, to try the real configs without the real data.

    python -m tests.data.make_tiny_voc /tmp/tiny
    DETECTRON2_DATASETS=/tmp/tiny tools/train_net.py \\
        --config-file configs/voc2watercolor_swda_meta.yaml SOLVER.MAX_ITER 5 MODEL.WEIGHTS ""

Layout, XML and image sizes (500x375 and 375x500) are the real ones; the pictures are flat shapes.
"""

from __future__ import annotations

import argparse
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

SIX = ("bicycle", "bird", "car", "cat", "dog", "person")
# fmt: off
TWENTY = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)
# fmt: on
#: tree -> (its splits, its classes)
TREES = {
    "VOC2007": (("trainval", "test"), TWENTY),
    "VOC2012": (("trainval",), TWENTY),
    "watercolor": (("train", "test"), SIX),
    "comic": (("train", "test"), SIX),
    "clipart": (("train", "test"), TWENTY),
}


def make_tiny_voc(
    root: str | Path,
    images: int = 6,
    seed: int = 0,
    trees: Sequence[str] = ("VOC2007", "VOC2012", "watercolor"),
) -> Path:
    """Write the trees below ``root``, which can then be ``DETECTRON2_DATASETS``.

    In each split every second image is upright. Each image shows one of the six classes of
    Watercolor2k, all in turn, and with 20 classes a second object of any; from three images on, the
    last of the 20-class splits shows none of the six. The first object of the first image is
    ``difficult``.

    Args:
        root: created if need be.
        images: number of images per split.
        seed: of sizes, places and colours.
        trees: keys of :data:`TREES`.

    Returns:
        Path: ``root``.
    """
    root = Path(root)
    for number, tree in enumerate(trees):
        splits, classes = TREES[tree]
        for index, split in enumerate(splits):
            rng = np.random.default_rng([seed, number, index])
            _write_split(root / tree, split, classes, images, rng, first_id=index * images)
    return root


def _write_split(
    folder: Path,
    split: str,
    classes: Sequence[str],
    images: int,
    rng: np.random.Generator,
    first_id: int,
) -> None:
    for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    others = [name for name in classes if name not in SIX]
    ids = []
    for n in range(images):
        names = [SIX[n % len(SIX)]]
        if others:
            names.append(str(rng.choice(classes)))
            if images >= 3 and n == images - 1:
                names = [str(name) for name in rng.choice(others, 2)]
        image_id = f"{first_id + n + 1:06d}"
        ids.append(image_id)
        size = (500, 375) if n % 2 == 0 else (375, 500)
        boxes = [_random_box(size, rng) for _ in names]
        _draw(size, boxes, rng).save(folder / "JPEGImages" / f"{image_id}.jpg", quality=90)
        difficult = [n == 0 and k == 0 for k in range(len(names))]
        tree = annotation_xml(f"{image_id}.jpg", size, list(zip(names, boxes, difficult)))
        tree.write(folder / "Annotations" / f"{image_id}.xml")
    (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{i}\n" for i in ids))


def _random_box(size: tuple[int, int], rng: np.random.Generator) -> tuple[int, int, int, int]:
    """A box as VOC writes it: pixels from 1, inclusive."""
    width, height = (int(rng.integers(60, 181)) for _ in range(2))
    xmin = int(rng.integers(1, size[0] - width + 1))
    ymin = int(rng.integers(1, size[1] - height + 1))
    return xmin, ymin, xmin + width - 1, ymin + height - 1


def _draw(
    size: tuple[int, int], boxes: Sequence[tuple[int, int, int, int]], rng: np.random.Generator
) -> Image.Image:
    image = Image.new("RGB", size, tuple(rng.integers(0, 256, 3).tolist()))
    draw = ImageDraw.Draw(image)
    for xmin, ymin, xmax, ymax in boxes:
        draw.ellipse(
            (xmin - 1, ymin - 1, xmax - 1, ymax - 1), fill=tuple(rng.integers(0, 256, 3).tolist())
        )
    return image


def annotation_xml(
    file_name: str,
    size: tuple[int, int],
    objects: Sequence[tuple[str, tuple[float, float, float, float], bool]],
) -> ET.ElementTree:
    """The annotation of one image.

    Args:
        file_name: of the image, without folder.
        size: its width and height.
        objects: (class, (xmin, ymin, xmax, ymax), difficult) of each.
    """
    root = ET.Element("annotation")
    ET.SubElement(root, "filename").text = file_name
    element = ET.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (*size, 3)):
        ET.SubElement(element, key).text = str(value)
    for name, box, difficult in objects:
        element = ET.SubElement(root, "object")
        ET.SubElement(element, "name").text = name
        ET.SubElement(element, "difficult").text = str(int(difficult))
        corners = ET.SubElement(element, "bndbox")
        for key, value in zip(("xmin", "ymin", "xmax", "ymax"), box):
            ET.SubElement(corners, key).text = str(value)
    return ET.ElementTree(root)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="folder to write to; then set DETECTRON2_DATASETS to it")
    parser.add_argument("--images", type=int, default=6, help="images per split")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trees", nargs="+", choices=sorted(TREES), default=list(TREES)[:3])
    arguments = parser.parse_args()
    made = make_tiny_voc(arguments.root, arguments.images, arguments.seed, arguments.trees)
    print(f"wrote {', '.join(arguments.trees)} to {made}")
