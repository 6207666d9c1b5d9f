"""Data sets by name: those known, those of a user, those of a config."""

from __future__ import annotations

import shutil

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from metaalign_det.data import register_all, register_from_config, register_voc_domain
from metaalign_det.data.catalog.domains import load_labelled, load_unlabelled
from metaalign_det.data.formats.voc import VOC_CLASSES, WATERCOLOR_CLASSES
from metaalign_det.errors import UserError
from metaalign_det.miniatures.splits import mini_splits
from tests.data.trees import make_tiny_voc, tiny_cfg, write_annotation


def test_known_names_read_the_trees_below_the_root(datasets):
    counts = {
        name: len(DatasetCatalog.get(name))
        for name in (
            "voc6_2007_trainval",
            "voc6_2012_trainval",
            "voc6_2007_test",
            "voc20_2007_trainval",
            "watercolor_train",
            "watercolor_test",
        )
    }
    # Training on six classes leaves out the image with none of them, the test set keeps it.
    assert list(counts.values()) == [5, 5, 6, 6, 6, 6]
    assert MetadataCatalog.get("voc6_2007_trainval").thing_classes == list(WATERCOLOR_CLASSES)
    assert MetadataCatalog.get("voc20_2007_trainval").thing_classes == list(VOC_CLASSES)
    assert MetadataCatalog.get("watercolor_test").evaluator_type == "detection"


def test_the_root_is_looked_up_when_the_data_are_read(tmp_path, monkeypatch):
    for images in (3, 4):
        root = make_tiny_voc(tmp_path / str(images), images=images, trees=("watercolor",))
        monkeypatch.setenv("DETECTRON2_DATASETS", str(root))
        assert len(DatasetCatalog.get("watercolor_train")) == images


def test_missing_data_name_the_data_set(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    with pytest.raises(UserError, match=r"'clipart_test': .*clipart/ImageSets/Main/test.txt does"):
        DatasetCatalog.get("clipart_test")


def test_miniature_is_known_and_read_where_it_is(tmp_path, monkeypatch):
    assert all(name in DatasetCatalog for name in mini_splits())
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    make_tiny_voc(tmp_path / "mini_voc2watercolor", trees=("watercolor",))
    assert len(DatasetCatalog.get("mini_watercolor_train")) == 6


def test_own_folder_with_classes_read_from_it(own_root, catalog):
    register_voc_domain("mine", own_root / "watercolor", "train")
    assert len(catalog.get("mine")) == 4
    assert MetadataCatalog.get("mine").thing_classes == ["bicycle", "bird", "car", "cat"]
    write_annotation(own_root / "watercolor", "000001", [("yak", (1, 1, 9, 9), False)])
    with pytest.raises(UserError, match="'mine': its classes were bicycle.* now they are .*yak"):
        catalog.get("mine")


def test_registering_again_is_harmless_and_differently_an_error(own_root, catalog):
    for _ in range(2):
        register_voc_domain("mine", "watercolor", "train", ["cat"], ignore=VOC_CLASSES)
    with pytest.raises(UserError, match="registered already, differently"):
        register_voc_domain("mine", "watercolor", "train", ["dog"], ignore=VOC_CLASSES)
    with pytest.raises(UserError, match="registered already, differently"):
        register_voc_domain("coco_2017_val", "watercolor", "train", ["dog"])


def test_class_lists_that_are_none(catalog):
    with pytest.raises(UserError, match="'mine': CLASSES must be a list of names, not 'cat'"):
        register_voc_domain("mine", "x", "train", "cat")
    with pytest.raises(UserError, match="'mine': class 'cat' is listed twice"):
        register_voc_domain("mine", "x", "train", ["cat", "cat"])


def test_unlabelled_folder_is_a_target_and_nothing_else(own_root, catalog):
    shutil.rmtree(own_root / "watercolor" / "Annotations")
    register_voc_domain("bare", own_root / "watercolor", "train", labelled=False)
    assert [set(d) for d in load_unlabelled("bare")] == [
        {"file_name", "image_id", "height", "width"}
    ] * 4
    with pytest.raises(UserError, match="'bare' has no labels: it can be a target"):
        load_labelled("bare")


def test_extra_split_with_placeholder_boxes(own_root, catalog):
    tree = own_root / "watercolor"
    (tree / "ImageSets" / "Main" / "extra.txt").write_text("000001\n")
    write_annotation(tree, "000001", [("cat", (1, 1, 1, 1), False)])
    register_voc_domain("extra", tree, "extra", WATERCOLOR_CLASSES)
    with pytest.raises(UserError, match="placeholder"):
        load_labelled("extra")
    assert len(load_unlabelled("extra")) == 1


def test_unlabelled_reading_leaves_no_image_out(datasets):
    assert len(load_labelled("voc6_2007_trainval")) == 5
    assert len(load_unlabelled("voc6_2007_trainval")) == 6


def test_unknown_name_suggests_a_known_one():
    with pytest.raises(UserError, match="no data set 'watercolour_train'.*watercolor_train"):
        load_labelled("watercolour_train")


def test_missing_data_of_detectron2_itself(tmp_path):
    with pytest.raises(UserError, match="'voc_2007_train': .*train.txt"):
        load_labelled("voc_2007_train")


def test_register_key(own_root, catalog):
    cfg = tiny_cfg(
        REGISTER=[
            {"NAME": "a", "FORMAT": "voc", "ROOT": "watercolor", "SPLIT": "train"},
            {
                "NAME": "b",
                "FORMAT": "voc",
                "ROOT": str(own_root / "VOC2007"),
                "SPLIT": "test",
                "CLASSES": ["car", "cat"],
                "IGNORE": list(VOC_CLASSES),
                "EXPECTED": 4,
            },
        ]
    )
    register_all(cfg)
    register_all(cfg)
    assert len(catalog.get("a")) == len(catalog.get("b")) == 4
    assert MetadataCatalog.get("b").thing_classes == ["car", "cat"]


def test_register_key_for_a_folder_of_classes(tmp_path, catalog):
    (tmp_path / "cat").mkdir()
    entry = {"NAME": "c", "FORMAT": "folder", "ROOT": str(tmp_path), "CLASSES": ["cat"]}
    register_from_config(tiny_cfg(REGISTER=[entry]))
    assert MetadataCatalog.get("c").evaluator_type == "classification"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("watercolor", r"REGISTER\[0\] must be a mapping"),
        ({"NAME": "a"}, "FORMAT must be one of voc, coco, .*, not None"),
        ({"NAME": "a", "FORMAT": "pascal"}, "not 'pascal'"),
        ({"NAME": "a", "FORMAT": "coco", "ROOT": "x"}, "the key JSON_FILE is missing"),
        (
            {"NAME": "a", "FORMAT": "voc", "ROOT": "x", "SPLIT": "y", "CLASS": []},
            r"unknown key 'CLASS' \(did you mean CLASSES\?\)",
        ),
    ],
)
def test_register_key_with_a_wrong_entry(entry, message, catalog):
    with pytest.raises(UserError, match=message):
        register_from_config(tiny_cfg(REGISTER=[entry]))
