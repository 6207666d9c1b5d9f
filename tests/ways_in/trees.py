"""What a user has: labelled photographs in one of three formats, and a folder nobody has sorted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from tests.data.make_tiny_voc import annotation_xml

SIZE = (96, 72)  # width and height in pixels
CLASSES = ("ball", "box")

#: (class, (x0, y0, x1, y1)) of an object, corners in pixels.
Objects = list[tuple[int, tuple[int, int, int, int]]]


def picture(number: int, colors: tuple[str, str] = ("red", "blue")) -> tuple[Image.Image, Objects]:
    """One or two objects on noise; no two numbers look alike."""
    rng = np.random.default_rng(number)
    ground = rng.integers(60, 200, 3) + rng.integers(-25, 25, (SIZE[1], SIZE[0], 3))
    image = Image.fromarray(ground.astype(np.uint8))
    objects: Objects = []
    for _ in range(rng.integers(1, 3)):
        kind, side = int(rng.integers(2)), int(rng.integers(20, 40))
        x, y = (int(rng.integers(length - side)) for length in SIZE)
        corners = (x, y, x + side, y + side)
        draw = ImageDraw.Draw(image)
        (draw.ellipse, draw.rectangle)[kind](corners, fill=colors[kind])
        objects.append((kind, corners))
    return image, objects


def make_coco(root: Path) -> Path:
    """``images/``, half of them in a folder with a space, and ``instances.json``."""
    content: dict = {"images": [], "annotations": []}
    content["categories"] = [{"id": 3, "name": CLASSES[0]}, {"id": 7, "name": CLASSES[1]}]
    for n in range(10):
        image, objects = picture(n)
        name = f"day one/IMG {n}.JPG" if n % 2 else f"{n}.jpg"
        _save(image, root / "images" / name)
        content["images"].append({"id": n, "file_name": name, "width": 96, "height": 72})
        for kind, (x0, y0, x1, y1) in objects:
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": n,
                    "category_id": (3, 7)[kind],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    (root / "instances.json").write_text(json.dumps(content))
    return root


def make_yolo(root: Path) -> Path:
    """``images/{train,val}``, ``labels/``, and the data.yaml of another machine."""
    for n in range(14):
        split = "val" if n >= 10 else "train"
        image, objects = picture(100 + n)
        _save(image, root / "images" / split / f"{n}.png")
        if n == 3:
            continue  # shows nothing that is looked for
        lines = [
            f"{kind} {(x0 + x1) / 2 / 96} {(y0 + y1) / 2 / 72} {(x1 - x0) / 96} {(y1 - y0) / 72}\n"
            for kind, (x0, y0, x1, y1) in objects
        ]
        label = root / "labels" / split / f"{n}.txt"
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("".join(lines))
    (root / "data.yaml").write_text(
        "path: /home/somebody/datasets\ntrain: images/train\nval: images/val\n"
        "names:\n  0: ball\n  1: box\n"
    )
    return root


def make_voc(root: Path) -> Path:
    """``JPEGImages`` and ``Annotations`` alone: no ``ImageSets``, no XML for two images."""
    (root / "Annotations").mkdir(parents=True)
    for n in range(12):
        image, objects = picture(200 + n)
        _save(image, root / "JPEGImages" / f"{n:06d}.jpg")
        if n < 10:
            named = [
                (CLASSES[k], (x0 + 1, y0 + 1, x1, y1), False) for k, (x0, y0, x1, y1) in objects
            ]
            xml = annotation_xml(f"{n:06d}.jpg", SIZE, named)
            xml.write(root / "Annotations" / f"{n:06d}.xml")
    return root


def make_messy(root: Path) -> dict[str, tuple[int, int]]:
    """Images of every kind, nested as they came; the size of each that can be read, by name.

    Suffixes in mixed case, spaces, 16 bits, CMYK, gray, alpha, a palette, EXIF rotation; and one
    file that ends halfway, ``old/half.jpg``, among files that are no images.
    """
    files = {
        f"my sketches/2021 may/{n}.{s}": n for n, s in enumerate(("JPG", "Png", "jpeg", "WEBP"))
    }
    for name, n in files.items():
        _save(_drawing(n), root / name)
    rotated = Image.Exif()
    rotated[0x0112] = 6
    _save(_drawing(10), root / "phone.jpg", exif=rotated)
    _save(_drawing(11).convert("CMYK"), root / "print.JPG")
    _save(_drawing(12).convert("L"), root / "scans/gray.png")
    wide = np.asarray(_drawing(13).convert("L")).astype(np.uint16) * 257
    _save(Image.fromarray(wide), root / "scans/16 bits.png")
    faded = _drawing(14)
    faded.putalpha(Image.linear_gradient("L").resize(SIZE))
    _save(faded, root / "scans/alpha.png")
    _save(_drawing(15).quantize(16), root / "web.gif")
    half = (root / "my sketches/2021 may/0.JPG").read_bytes()
    (root / "old").mkdir()
    (root / "old" / "half.jpg").write_bytes(half[: len(half) // 2])
    (root / "notes.txt").write_text("nothing to see")
    (root / "Thumbs.db").write_bytes(b"\0")
    (root / "._phone.jpg").write_bytes(b"\0")
    there = [
        *files,
        "print.JPG",
        "scans/gray.png",
        "scans/16 bits.png",
        "scans/alpha.png",
        "web.gif",
    ]
    return {**dict.fromkeys(there, SIZE), "phone.jpg": SIZE[::-1]}


def _drawing(number: int) -> Image.Image:
    return picture(300 + number, ("pink", "lightblue"))[0]


def _save(image: Image.Image, path: Path, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
