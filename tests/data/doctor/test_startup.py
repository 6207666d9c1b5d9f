"""What check_data finds before a model is built."""

from __future__ import annotations

import logging

import pytest

from metaalign_det.data import check_data, register_voc_domain
from metaalign_det.data.formats.voc import VOC_CLASSES, WATERCOLOR_CLASSES
from metaalign_det.errors import UserError
from tests.data.trees import tiny_cfg, write_annotation

PAIR = {"TRAIN": ("voc6_2007_trainval",), "TARGET": ("watercolor_train",)}


def test_counts_in_one_table(datasets, caplog):
    cfg = tiny_cfg(**PAIR, TEST=("watercolor_test", "voc6_2007_test"))
    with caplog.at_level(logging.INFO, logger="metaalign_det"):
        rows = check_data(cfg)
    assert [(r.role, r.name, r.images, r.objects is None) for r in rows] == [
        ("source 0", "voc6_2007_trainval", 5, False),
        ("target", "watercolor_train", 6, True),
        ("test", "watercolor_test", 6, False),
        ("test", "voc6_2007_test", 6, False),
    ]
    assert rows[2].objects == 6 and rows[0].classes == WATERCOLOR_CLASSES
    tables = [r.getMessage() for r in caplog.records if "data of this run" in r.getMessage()]
    assert len(tables) == 1 and "voc6_2007_test" in tables[0]


def test_only_evaluating_needs_no_training_data(datasets):
    cfg = tiny_cfg(TRAIN=("comic_train",), TEST=("watercolor_test",))
    assert [r.role for r in check_data(cfg, train=False)] == ["test"]
    with pytest.raises(UserError, match="comic"):
        check_data(cfg)


def test_class_lists_that_differ_name_the_classes(datasets, catalog):
    register_voc_domain("four", "watercolor", "test", ["car", "cat", "dog", "yak"])
    with pytest.raises(UserError) as caught:
        check_data(tiny_cfg(TRAIN=("voc6_2007_trainval",), TARGET=("four",)))
    message = str(caught.value)
    assert "'voc6_2007_trainval' and 'four' have different classes" in message
    assert "'four' lacks bicycle, bird, person" in message
    assert "'voc6_2007_trainval' lacks yak" in message


def test_classes_in_another_order_are_the_same_classes(datasets, catalog):
    register_voc_domain("other_order", "watercolor", "test", WATERCOLOR_CLASSES[::-1])
    assert check_data(tiny_cfg(**PAIR, TEST=("other_order",)))[-1].objects


def test_number_of_classes_of_the_model(datasets):
    cfg = tiny_cfg(**PAIR, TEST=())
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 80
    with pytest.raises(UserError, match="NUM_CLASSES = 80, but the data have 6 classes"):
        check_data(cfg)


def test_target_among_the_sources(datasets, catalog):
    cfg = tiny_cfg(TRAIN=("watercolor_train",), TARGET=("watercolor_train",))
    with pytest.raises(UserError, match="target watercolor_train is among the sources"):
        check_data(cfg)
    # The same images under another name.
    register_voc_domain("alias", "watercolor", "train", WATERCOLOR_CLASSES)
    cfg.DATASETS.TARGET = ("alias",)
    with pytest.raises(UserError, match=r"share 6 image\(s\)"):
        check_data(cfg)


def test_no_object_to_learn(own_root, catalog):
    for number in range(1, 5):
        write_annotation(own_root / "watercolor", f"{number:06d}", [])
    with pytest.raises(UserError, match="no object in any of watercolor_train"):
        check_data(tiny_cfg(TRAIN=("watercolor_train",)))


def test_broken_target_annotations_are_not_looked_at(own_root):
    for path in (own_root / "watercolor" / "Annotations").glob("*.xml"):
        path.write_text("<not xml")
    assert len(check_data(tiny_cfg(**PAIR), test=False)) == 2
    with pytest.raises(UserError, match="not valid XML"):
        check_data(tiny_cfg(**PAIR, TEST=("watercolor_test",)))


def test_boxes_and_image_classes_do_not_mix(datasets):
    with pytest.raises(UserError, match="do not go together"):
        check_data(tiny_cfg(TRAIN=("voc6_2007_trainval",), TARGET=("office31_dslr",)))


@pytest.mark.parametrize("domains", [(0,), (0, 2), (1, 1), (0, -1)])
def test_domain_numbers(datasets, domains):
    cfg = tiny_cfg(TRAIN=("voc6_2007_trainval", "voc6_2012_trainval"), TRAIN_DOMAINS=domains)
    with pytest.raises(UserError, match="TRAIN_DOMAINS"):
        check_data(cfg)


def test_nothing_named():
    with pytest.raises(UserError, match="DATASETS.TRAIN and DATASETS.TEST name no data set"):
        check_data(tiny_cfg())


def test_generalisation_is_tested_on_an_unseen_domain(datasets, catalog):
    cfg = tiny_cfg(TRAIN=("watercolor_train", "voc6_2007_trainval"), TRAIN_DOMAINS=(0, 1))
    cfg.MODEL.ALIGN.BETWEEN = "sources"
    cfg.DATASETS.TEST = ("watercolor_train",)
    with pytest.raises(UserError, match="among the sources"):
        check_data(cfg)
    cfg.DATASETS.TEST = ("watercolor_train", "watercolor_test")
    assert len(check_data(cfg)) == 4


def test_twenty_classes_agree(own_root, catalog):
    cfg = tiny_cfg(TRAIN=("voc20_2007_trainval",), TEST=("voc20_2007_test",))
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = 20
    assert check_data(cfg)[0].classes == VOC_CLASSES


def test_an_image_that_cannot_be_read_says_how_to_go_on_without_it(own_root):
    (own_root / "watercolor" / "JPEGImages" / "000002.jpg").write_bytes(b"gone")
    with pytest.raises(
        UserError, match=r"000002\.jpg .*DATALOADER\.ON_BAD_IMAGE skip; .*names them"
    ):
        check_data(tiny_cfg(**PAIR), test=False)
    cfg = tiny_cfg(TRAIN=("voc6_2007_trainval",), TEST=("watercolor_train",))
    with pytest.raises(UserError, match=r"000002\.jpg .*replace it$"):
        check_data(cfg)
