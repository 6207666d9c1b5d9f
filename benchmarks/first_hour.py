"""Minutes from "I have two folders" to pictures with boxes, by the commands of the guide.

    python -m benchmarks.first_hour                         # in output/first_hour
    python -m benchmarks.first_hour --photos 300 --drawings 500

Makes the folders that docs/guide/own-data.md starts from, out of the miniatures: ``photos``, a COCO
set of labelled pictures; ``drawings``, pictures of another kind without labels in the disorder that
folders have; ``labelled_drawings``, some more of them in COCO, for scores alone. Then runs the
guide's commands on them, each in a process of its own as it would be typed, and prints what each
took: minutes on the clock, and of processor time, which other work on the machine does not change.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from metaalign_det.data.formats.boxes import ImageRecord

#: The guide's commands, in the folder that holds the folders.
COMMANDS = (
    "metaalign-det check-data photos drawings",
    "metaalign-det init photos drawings --test labelled_drawings",
    "metaalign-det train --config-file photos2drawings.yaml",
    "metaalign-det predict output/photos2drawings drawings --format coco",
)
#: Where pictures lie among the drawings, and the ends of their names; taken in turns.
_PLACES = ("", "from Anna/sheet 1", "from Anna/sheet 2", "scans, 2nd try")
_SUFFIXES = (".png", ".JPG", ".jpeg", ".Png")


def make_folders(root: Path, photos: int, drawings: int, labelled: int) -> None:
    """``root/photos``, ``root/drawings``, ``root/labelled_drawings``, of so many pictures each."""
    from metaalign_det.data.formats.voc import read_voc
    from metaalign_det.miniatures.build import ensure_mini_openmoji, ensure_mini_voc2watercolor
    from metaalign_det.miniatures.splits import CLASSES

    with tempfile.TemporaryDirectory() as folder:
        unused = dict.fromkeys(
            ("mini_photo_test", "mini_watercolor_train", "mini_watercolor_val",
             "mini_watercolor_test", "mini_mixed_test"), 1,
        )  # fmt: skip
        sizes = {"mini_photo_train": photos, **unused}
        photo = ensure_mini_voc2watercolor(folder, sizes=sizes, workers=2) / "photo"
        sizes = {"mini_openmoji_train": drawings, "mini_openmoji_val": 1,
                 "mini_openmoji_test": labelled}  # fmt: skip
        drawn = ensure_mini_openmoji(folder, sizes=sizes, workers=2) / "watercolor"
        _write_coco(root / "photos", read_voc(photo, "train"), CLASSES)
        _write_coco(root / "labelled_drawings", read_voc(drawn, "test"), CLASSES)
        for n, line in enumerate((drawn / "ImageSets/Main/train.txt").read_text().split()):
            place = root / "drawings" / _PLACES[n % len(_PLACES)]
            place.mkdir(parents=True, exist_ok=True)
            with Image.open(drawn / "JPEGImages" / f"{line}.jpg") as image:
                image.save(place / f"drawing {n}{_SUFFIXES[n // len(_PLACES) % len(_SUFFIXES)]}")


def _write_coco(root: Path, records: Sequence[ImageRecord], classes: Sequence[str]) -> None:
    (root / "images").mkdir(parents=True)
    content: dict[str, list] = {
        "images": [],
        "annotations": [],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, 1)],
    }
    for number, record in enumerate(records):
        name = f"{number:06d}.jpg"
        shutil.copyfile(record.file_name, root / "images" / name)
        width, height = record.size
        content["images"].append(
            {"id": number, "file_name": name, "width": width, "height": height}
        )
        for box in record.boxes or ():
            x0, y0, x1, y1 = box.corners
            content["annotations"].append(
                {
                    "id": len(content["annotations"]) + 1,
                    "image_id": number,
                    "category_id": classes.index(box.name) + 1,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                }
            )
    (root / "instances.json").write_text(json.dumps(content))


def timed(command: str, folder: Path) -> tuple[float, float]:
    """Run one of :data:`COMMANDS`; minutes on the clock and of processor time."""
    words = [sys.executable, "-m", "metaalign_det.cli", *shlex.split(command)[1:]]
    root = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run(words, cwd=folder, check=True, env={**os.environ, "PYTHONPATH": path})
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - start
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall / 60, busy / 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, default=Path("output/first_hour"), help="default: %(default)s")
    add("--photos", type=int, default=200, help="labelled pictures (default: %(default)s)")
    add("--drawings", type=int, default=200, help="unlabelled pictures (default: %(default)s)")
    args = parser.parse_args()
    if args.output.exists():
        sys.exit(f"{args.output} is there already: remove it, or choose another --output")
    make_folders(args.output, args.photos, args.drawings, labelled=100)
    rows = []
    for command in COMMANDS:
        rows.append((command, *timed(command, args.output)))
    rows.append(("together", *(sum(row[k] for row in rows) for k in (1, 2))))
    boxes = json.loads((args.output / "predictions" / "coco.json").read_text())
    found = len(boxes["annotations"])
    print(f"\n{'minutes':>8} {'processor':>10}")
    for command, wall, busy in rows:
        print(f"{wall:8.1f} {busy:10.1f}  {command}")
    load = os.getloadavg()[2]
    print(f"{args.photos} photos, {args.drawings} drawings, {found} boxes drawn; "
          f"{os.cpu_count()} cores, load over the last 15 minutes {load:.1f}")  # fmt: skip


if __name__ == "__main__":
    main()
