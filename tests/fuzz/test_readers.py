"""Readers of data only ever answer or explain."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from metaalign_det.data.catalog.classification import FolderDomain, ImageListDomain
from metaalign_det.data.catalog.detection import (
    CityscapesDomain,
    CocoDomain,
    ImagesDomain,
    KittiDomain,
    VocDomain,
    YoloDomain,
)
from metaalign_det.data.catalog.register import FORMATS, _domain
from metaalign_det.data.formats.image_headers import read_image_sizes
from metaalign_det.data.formats.voc_xml import read_annotation
from metaalign_det.data.views.images import read_image
from tests.data.make_tiny_formats import (
    KITTI_LINES,
    coco_json,
    make_tiny_cityscapes,
    make_tiny_coco,
    make_tiny_kitti,
    make_tiny_yolo,
    save_image,
)
from tests.data.make_tiny_voc import annotation_xml, make_tiny_voc
from tests.fuzz.inputs import answers_or_explains, damaged, scalars, spoiled, text, values


def xml_of(*objects) -> bytes:
    stream = io.BytesIO()
    annotation_xml("1.jpg", (80, 60), objects).write(stream, xml_declaration=True)
    return stream.getvalue()


XML = xml_of(("cat", (1, 1, 30, 20), False), ("dog", (2.5, 3, 9, 9), True))
POLYGONS = {
    "imgHeight": 60, "imgWidth": 80,
    "objects": [{"label": "car", "polygon": [[1, 2], [30, 2], [30, 40]]}, {"label": "cargroup",
    "polygon": [[1, 2], [3, 4], [5, 6]]}],
}  # fmt: skip


@given(content=damaged(XML))
@example(content=b"<?xml version='1.0' encoding='u" + b"9" * 5000 + b"'?><a/>")
def test_voc_xml(tmp_path, content):
    path = tmp_path / "1.xml"
    path.write_bytes(content)
    answers_or_explains(lambda: read_annotation(path))


@pytest.fixture(scope="module")
def voc(tmp_path_factory):
    return make_tiny_voc(tmp_path_factory.mktemp("voc"), 2, trees=["watercolor"]) / "watercolor"


@given(name=text, corners=st.tuples(*[scalars] * 4), size=st.tuples(scalars, scalars))
def test_voc_objects(voc, name, corners, size):
    def write_and_read():
        objects = [(_xml_text(name), tuple(map(_xml_text, corners)), False)]
        tree = annotation_xml("1.jpg", tuple(map(_xml_text, size)), objects)
        tree.write(voc / "Annotations" / "000001.xml", encoding="utf-8")
        VocDomain(name="v", root=voc, split="train", ignore=["dog"])()

    answers_or_explains(write_and_read)


def _xml_text(value: object) -> str:
    shown = "9" * 5000 if isinstance(value, int) and abs(value) > 10**300 else str(value)
    return "".join(c for c in shown if c.isprintable() and not 0xD800 <= ord(c) < 0xE000)


@given(content=damaged(b"000001\n000002\n"), split=st.one_of(st.just("train"), text))
def test_voc_splits(voc, content, split):
    (voc / "ImageSets" / "Main" / "train.txt").write_bytes(content)
    answers_or_explains(
        lambda: VocDomain(name="v", root=voc, split=split, labelled=False).without_labels()
    )


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    return make_tiny_coco(tmp_path_factory.mktemp("coco"))


def _read_coco(path):
    return CocoDomain(name="c", root=path.parent / "images", json_file=path)()


@given(content=damaged(json.dumps(coco_json()).encode()))
def test_coco_bytes(coco, content):
    coco.write_bytes(content)
    answers_or_explains(lambda: _read_coco(coco))


@given(content=spoiled(coco_json()))
def test_coco_values(coco, content):
    coco.write_text(_json(content))
    answers_or_explains(lambda: _read_coco(coco))


def _json(content: object) -> str:
    """As JSON, NaN and all; numbers too long for Python to print as digits all the same."""
    return json.dumps(content, default=str).replace(str(10**400), "9" * 5000)


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    root = tmp_path_factory.mktemp("yolo")
    make_tiny_yolo(root)
    return root


DATA_YAML = b"train: images/train\nval: [images/val]\nnc: 2\nnames: {0: cat, 1: dog}\n"


@given(content=damaged(DATA_YAML))
def test_yolo_data_yaml(yolo, content):
    (yolo / "data.yaml").write_bytes(content)
    answers_or_explains(YoloDomain(name="y", root=yolo))


@given(content=spoiled({"train": ["images/train"], "path": ".", "names": ["cat", "dog"]}))
def test_yolo_data_values(yolo, content):
    (yolo / "data.yaml").write_text(_json(content))
    answers_or_explains(YoloDomain(name="y", root=yolo))


@given(content=damaged(b"1 0.5 0.5 0.25 0.5\n0 0.1 0.1 0.4 0.1 0.4 0.4\n"))
def test_yolo_labels(yolo, content):
    (yolo / "data.yaml").write_bytes(DATA_YAML)
    (yolo / "labels" / "train" / "0 b.txt").write_bytes(content)
    answers_or_explains(YoloDomain(name="y", root=yolo))


@given(content=damaged(b"images/train/0 b.JPG\n./images/train/2 b.JPG\n"))
def test_yolo_lists(yolo, content):
    (yolo / "data.yaml").write_text("train: list.txt\nnames: [cat, dog]\n")
    (yolo / "list.txt").write_bytes(content)
    answers_or_explains(YoloDomain(name="y", root=yolo))


@given(content=damaged(b"images/train/0 b.JPG 1\nimages/train/2 b.JPG 0\n"))
@pytest.mark.parametrize("numbered", [False, True])
def test_image_lists(yolo, content, numbered):
    path = yolo / "images.txt"
    path.write_bytes(content)
    answers_or_explains(
        ImageListDomain(
            name="l", root=yolo, list_file=path, numbered=numbered, classes=["train", "val"]
        )
    )


@given(content=damaged(b"images/train/0 b.JPG\nimages/train/2 b.JPG\n"))
def test_lists_of_unlabelled_images(yolo, content):
    path = yolo / "images.txt"
    path.write_bytes(content)
    answers_or_explains(ImagesDomain(name="i", root=path))


@given(place=text, classes=st.one_of(st.none(), st.lists(text, min_size=1, max_size=3)))
def test_places(yolo, place, classes):
    # Not "/" itself: that a whole disk is searched on demand is no mistake.
    below = f"{yolo}/{place.lstrip('/.~')}"
    answers_or_explains(lambda: ImagesDomain(name="i", root=below)())
    answers_or_explains(lambda: FolderDomain(name="f", root=below, classes=classes)())


@pytest.fixture(scope="module")
def cityscapes(tmp_path_factory):
    return make_tiny_cityscapes(tmp_path_factory.mktemp("streets"), splits=["val"])


@given(content=spoiled(POLYGONS))
def test_cityscapes_polygons(cityscapes, content):
    path = cityscapes / "gtFine/val/aachen/aachen_000000_000019_gtFine_polygons.json"
    path.write_text(_json(content))
    answers_or_explains(CityscapesDomain(name="s", root=cityscapes, split="val"))


@pytest.fixture(scope="module")
def kitti(tmp_path_factory):
    return make_tiny_kitti(tmp_path_factory.mktemp("streets"))


@given(content=damaged(KITTI_LINES.encode()))
def test_kitti_labels(kitti, content):
    (kitti / "label_2" / "000000.txt").write_bytes(content)
    answers_or_explains(KittiDomain(name="k", root=kitti))


ENTRY = {
    "NAME": "mine", "FORMAT": "voc", "ROOT": "somewhere", "SPLIT": "train", "CLASSES": ["a", "b"],
    "CLASS_MAP": {"c": "a"}, "IGNORE": ["*"], "LABELLED": True, "KEEP_EMPTY": False,
    "EXPECTED": 3, "DOMAIN": "x",
}  # fmt: skip


@given(entry=spoiled(ENTRY), kind=st.sampled_from(sorted(FORMATS)), more=values)
def test_register_entries(entry, kind, more):
    if isinstance(entry, dict) and entry.get("FORMAT") == "voc" and kind != "voc":
        needed = {"coco": "JSON_FILE", "image_list": "LIST_FILE"}
        entry = {key: entry[key] for key in ("NAME", "ROOT", "CLASSES") if key in entry}
        entry |= {"FORMAT": kind, needed.get(kind, "EXPECTED"): more}
    answers_or_explains(lambda: _domain(entry, "DATASETS.REGISTER[0]"))


def encoded(format: str, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.effect_noise((24, 16), 50).convert(mode).save(stream, format, exif=exif)
    return stream.getvalue()


IMAGES = [encoded(f) for f in ("JPEG", "PNG", "WEBP", "TIFF")]
IMAGES += [encoded("PNG", "LA"), encoded("JPEG", "CMYK"), encoded("TIFF", "RGBA")]


@given(content=st.sampled_from(IMAGES).flatmap(damaged), name=st.sampled_from(["a.jpg", "a.png"]))
@pytest.mark.filterwarnings("ignore")  # Pillow warns of damage that it can live with
def test_images(tmp_path, content, name):
    path: Path = tmp_path / name
    path.write_bytes(content)
    answers_or_explains(lambda: read_image_sizes([path]))
    answers_or_explains(lambda: read_image(path))


def test_the_inputs_are_valid_before_they_are_damaged(tmp_path, yolo):
    """Else the tests above would only ever see the first complaint."""
    (tmp_path / "1.xml").write_bytes(XML)
    assert len(read_annotation(tmp_path / "1.xml").objects) == 2
    (yolo / "data.yaml").write_bytes(DATA_YAML)
    (yolo / "labels" / "train" / "0 b.txt").write_bytes(b"1 0.5 0.5 0.25 0.5\n")
    assert len(YoloDomain(name="y", root=yolo)()) == 4
    for n, content in enumerate(IMAGES):
        (tmp_path / f"{n}.img").write_bytes(content)
        assert read_image(tmp_path / f"{n}.img").shape == (24, 16, 3)
    assert save_image(tmp_path / "x.png").is_file()
    _domain(ENTRY, "entry")
