"""Tiny trees in the real layouts of COCO, YOLO, Cityscapes, KITTI and Sim10k."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from tests.data.make_tiny_voc import annotation_xml

SIZE = (80, 60)


def save_image(path: Path, size: tuple[int, int] = SIZE, color: str = "gray") -> Path:
    """A flat image; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)
    return path


def coco_json(images: int = 2, names: Sequence[str] = ("cat", "dog")) -> dict:
    """Content of a COCO file: category i + 1 has a box in every image; the last has none."""
    return {
        "images": [
            {"id": 10 + i, "file_name": f"sub/{i} a.jpg", "width": SIZE[0], "height": SIZE[1]}
            for i in range(images)
        ],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": 100 * i + k, "image_id": 10 + i, "category_id": k + 1,
             "bbox": [5 * k, 10, 20, 30], "area": 600, "iscrowd": 0}
            for i in range(images - 1)
            for k in range(len(names))
        ],
    }  # fmt: skip


def make_tiny_coco(root: Path, content: dict | None = None) -> Path:
    """``root/images/sub/<n> a.jpg`` and ``root/instances.json``; returns the JSON's path."""
    content = coco_json() if content is None else content
    for image in content["images"]:
        save_image(root / "images" / image["file_name"])
    path = root / "instances.json"
    path.write_text(json.dumps(content))
    return path


def make_tiny_yolo(root: Path, names: str = "[cat, dog]") -> Path:
    """A data.yaml with folders train and val; each second image shows no object."""
    for split in ("train", "val"):
        for i in range(4):
            save_image(root / "images" / split / f"{i} b.JPG")
            if i % 2 == 0:
                label = root / "labels" / split / f"{i} b.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text("1 0.5 0.5 0.25 0.5\n")
    path = root / "data.yaml"
    path.write_text(
        f"path: /home/somebody/{root.name}\ntrain: images/train\nval: images/val\n"
        f"nc: 2\nnames: {names}\n"
    )
    return path


def make_tiny_cityscapes(root: Path, splits: Sequence[str] = ("train", "val")) -> Path:
    """``cityscapes`` with clear and foggy images: two cities, one frame each."""
    root = root / "cityscapes"
    square = [[10, 10], [30, 12], [28, 40], [9, 38]]
    objects = [
        {"label": "road", "polygon": [[0, 0], [80, 0], [80, 60]]},
        {"label": "car", "polygon": square},
        {"label": "cargroup", "polygon": [[40, 40], [60, 40], [60, 50]]},
        {"label": "person", "polygon": [[-2, 5], [6, 5], [6, 62]]},
    ]
    for split in splits:
        for city in ("aachen", "bochum"):
            frame = f"{city}_000000_000019"
            save_image(root / "leftImg8bit" / split / city / f"{frame}_leftImg8bit.png")
            for beta in ("0.005", "0.01", "0.02"):
                name = f"{frame}_leftImg8bit_foggy_beta_{beta}.png"
                save_image(root / "leftImg8bit_foggy" / split / city / name)
            path = root / "gtFine" / split / city / f"{frame}_gtFine_polygons.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps({"imgHeight": 60, "imgWidth": 80, "objects": objects}))
    return root


KITTI_LINES = """\
Car 0.00 0 -1.57 10.50 20.00 40.25 50.00 1.6 1.7 3.7 -16.5 2.4 58.5 -1.33
Pedestrian 0.00 1 0.2 1.0 2.0 8.0 30.0 1.6 0.5 0.5 1.0 1.0 9.0 0.01
DontCare -1 -1 -10 60.0 10.0 70.0 20.0 -1 -1 -1 -1000 -1000 -1000 -10
"""


def make_tiny_kitti(root: Path, images: int = 2) -> Path:
    """``kitti/training``."""
    root = root / "kitti" / "training"
    for i in range(images):
        save_image(root / "image_2" / f"{i:06d}.png")
        label = root / "label_2" / f"{i:06d}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(KITTI_LINES)
    return root


def make_tiny_sim10k(root: Path, images: int = 2) -> Path:
    """``sim10k/VOC2012`` with the list trainval10k."""
    root = root / "sim10k" / "VOC2012"
    ids = [f"34{i:05d}" for i in range(images)]
    for i in ids:
        save_image(root / "JPEGImages" / f"{i}.jpg")
        objects = [("car", (1, 1, 30, 20), False), ("person", (5, 5, 9, 20), False)]
        (root / "Annotations").mkdir(exist_ok=True)
        annotation_xml(f"{i}.jpg", SIZE, objects).write(root / "Annotations" / f"{i}.xml")
    lists = root / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval10k.txt").write_text("".join(f"{i}\n" for i in ids))
    return root
