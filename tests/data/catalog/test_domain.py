"""One shape for every format: what is registered, what is refused."""

from __future__ import annotations

import dataclasses

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from metaalign_det import data
from metaalign_det.data import register_from_config
from metaalign_det.data.catalog.register import FORMATS
from metaalign_det.errors import UserError
from tests.data.make_tiny_formats import make_tiny_coco
from tests.data.trees import tiny_cfg

ENTRIES = {
    "voc": {"SPLIT": "train"},
    "coco": {"JSON_FILE": "a.json"},
    "yolo": {"SPLIT": "val"},
    "images": {},
    "folder": {},
    "image_list": {"LIST_FILE": "list.txt"},
    "cityscapes": {"SPLIT": "val"},
    "kitti": {},
}


def register(**entry):
    register_from_config(tiny_cfg(REGISTER=[entry]))


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_registers_from_a_config_and_reads_nothing(kind, catalog):
    for _ in range(2):
        register(NAME="mine", FORMAT=kind, ROOT="nowhere", **ENTRIES[kind])
    domain = DatasetCatalog["mine"]
    assert isinstance(domain, data.Domain) and callable(domain.without_labels)
    assert MetadataCatalog.get("mine").evaluator_type == domain.kind
    with pytest.raises(dataclasses.FrozenInstanceError):
        domain.name = "other"
    with pytest.raises(UserError, match="data set 'mine': .*does not exist"):
        domain.without_labels()


def test_each_call_of_the_package_equals_its_entry(catalog):
    calls = {
        "voc": lambda n: data.register_voc_domain(n, "nowhere", "train"),
        "coco": lambda n: data.register_coco_domain(n, "nowhere", "a.json"),
        "yolo": lambda n: data.register_yolo_domain(n, "nowhere", "val"),
        "images": lambda n: data.register_images(n, "nowhere"),
        "folder": lambda n: data.register_image_folder(n, "nowhere"),
        "image_list": lambda n: data.register_image_list(n, "list.txt", "nowhere"),
    }
    for kind, call in calls.items():
        register(NAME=kind, FORMAT=kind, ROOT="nowhere", **ENTRIES[kind])
        call(kind)  # the same again is no error


@pytest.mark.parametrize("kind", [k for k in FORMATS if k != "images"])
def test_the_keys_for_classes_are_the_same_everywhere(kind, catalog):
    register(
        NAME="mine", FORMAT=kind, ROOT="nowhere", **ENTRIES[kind],
        CLASSES=["cat", "car"], CLASS_MAP={"kitten": "cat"}, IGNORE=["tree"],
    )  # fmt: skip
    rule = DatasetCatalog["mine"].rule()
    assert rule.classes == ("cat", "car") and rule.class_map == (("kitten", "cat"),)


def test_subset_and_merging_from_end_to_end(tmp_path, catalog):
    json_file = make_tiny_coco(tmp_path)
    entry = {"FORMAT": "coco", "ROOT": str(tmp_path / "images"), "JSON_FILE": str(json_file)}
    register(NAME="dogs", **entry, CLASSES=["dog"], IGNORE=["*"], KEEP_EMPTY=False)
    register(NAME="pets", **entry, CLASS_MAP={"cat": "pet", "dog": "pet"})
    assert [len(d["annotations"]) for d in DatasetCatalog.get("dogs")] == [1]
    assert {a["category_id"] for d in DatasetCatalog.get("pets") for a in d["annotations"]} == {0}
    assert MetadataCatalog.get("pets").thing_classes == ["pet"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("NAME", []), ("NAME", 3), ("NAME", ""), ("NAME", "../../x"), ("NAME", "a" * 300),
        ("NAME", "a\nb"), ("FORMAT", []), ("FORMAT", {}), ("ROOT", 5), ("ROOT", None),
        ("SPLIT", 7), ("SPLIT", ""), ("CLASSES", 0), ("CLASSES", "cat"), ("CLASSES", [1]),
        ("CLASSES", [[]]), ("CLASSES", []), ("CLASSES", {"a": 1}), ("CLASS_MAP", ["a"]),
        ("CLASS_MAP", {"a": 1}), ("CLASS_MAP", 3), ("IGNORE", "cat"), ("IGNORE", 5),
        ("LABELLED", "False"), ("KEEP_EMPTY", 1), ("EXPECTED", "many"), ("EXPECTED", True),
        ("DOMAIN", []), ("NEGATIVES", None), ("PREPARE", "x"),
    ],
)  # fmt: skip
def test_values_of_the_wrong_kind_name_entry_and_key(key, value, catalog):
    entry = {"NAME": "mine", "FORMAT": "voc", "ROOT": "x", "SPLIT": "train", key: value}
    with pytest.raises(UserError, match=rf"REGISTER\[0\]: .*{key}") as caught:
        register(**entry)
    assert len(str(caught.value)) < 700


def test_a_register_key_that_is_no_list(catalog):
    with pytest.raises(UserError, match="must be a list of mappings"):
        register_from_config(tiny_cfg(REGISTER="voc"))


@pytest.mark.parametrize("root", ["~nobody-of-that-name/x", "a\0b"])
def test_roots_that_cannot_be_paths(root, catalog):
    register(NAME="mine", FORMAT="kitti", ROOT=root)
    with pytest.raises(UserError, match="'mine': "):
        DatasetCatalog.get("mine")
