"""The strict VOC reader: Detectron2's dicts where both can read, clear errors elsewhere."""

from __future__ import annotations

import logging
import os
import shutil

import numpy as np
import pytest
from detectron2.data import MetadataCatalog
from detectron2.data.datasets.pascal_voc import load_voc_instances
from PIL import Image

from metaalign_det.data.catalog.detection import VocDomain, register_voc_domain
from metaalign_det.data.formats.image_headers import read_image_sizes
from metaalign_det.data.formats.voc import VOC_CLASSES, WATERCOLOR_CLASSES
from metaalign_det.errors import UserError
from tests.data.trees import write_annotation


@pytest.fixture
def tree(own_root):
    return own_root / "watercolor"


def load_voc(root, split, classes, **options):
    return VocDomain(name="read", root=root, split=split, classes=classes, **options)()


def load(tree, **options):
    return load_voc(tree, "train", WATERCOLOR_CLASSES, **options)


def test_equals_detectron2_and_adds_difficult(tiny_root):
    ours = load_voc(tiny_root / "VOC2007", "trainval", VOC_CLASSES)
    theirs = load_voc_instances(str(tiny_root / "VOC2007"), "trainval", VOC_CLASSES)
    difficult = [a.pop("difficult") for d in ours for a in d["annotations"]]
    assert ours == theirs
    assert difficult.count(True) == 1 and difficult[0] is True


def test_a_box_over_the_whole_image_starts_at_zero(tree):
    write_annotation(tree, "000001", [("cat", (1, 1, 500, 375), False)])
    (annotation,) = load(tree)[0]["annotations"]
    assert annotation["bbox"] == [0, 0, 500, 375]
    assert annotation["category_id"] == WATERCOLOR_CLASSES.index("cat")


def test_a_box_one_pixel_wide_is_kept(tree):
    write_annotation(tree, "000001", [("cat", (7, 9, 7, 9), False)])
    assert load(tree)[0]["annotations"][0]["bbox"] == [6, 8, 7, 9]


def test_six_of_twenty_classes(tiny_root):
    root = tiny_root / "VOC2007"
    full = load_voc(root, "trainval", VOC_CLASSES)
    six = load_voc(root, "trainval", WATERCOLOR_CLASSES, ignore=VOC_CLASSES, keep_empty=False)
    # By hand from the full reading: the same boxes, under the names of the shorter list.
    expected = {}
    for d in full:
        names = [VOC_CLASSES[a["category_id"]] for a in d["annotations"]]
        kept = [(n, a["bbox"]) for n, a in zip(names, d["annotations"]) if n in WATERCOLOR_CLASSES]
        if kept:
            expected[d["image_id"]] = kept
    found = {
        d["image_id"]: [(WATERCOLOR_CLASSES[a["category_id"]], a["bbox"]) for a in d["annotations"]]
        for d in six
    }
    assert found == expected
    assert len(six) == 5 and len(full) == 6  # the last image shows none of the six


def test_images_without_the_classes_stay_if_asked_for(tiny_root):
    dicts = load_voc(tiny_root / "VOC2007", "trainval", WATERCOLOR_CLASSES, ignore=VOC_CLASSES)
    assert len(dicts) == 6 and dicts[-1]["annotations"] == []


def test_class_subset_that_leaves_nothing(tiny_root):
    with pytest.raises(UserError, match="no image has an object of zebra"):
        load_voc(
            tiny_root / "VOC2007",
            "trainval",
            ["zebra"],
            ignore=VOC_CLASSES,
            keep_empty=False,
        )


def test_without_labels_annotations_need_not_exist(tree):
    with_labels = load(tree)
    shutil.rmtree(tree / "Annotations")
    for d in with_labels:
        del d["annotations"]
    assert load_voc(tree, "train", None, labelled=False) == with_labels


def test_unknown_class_names_file_class_and_list(tree):
    write_annotation(tree, "000002", [("cart", (1, 1, 50, 50), False)], size=(375, 500))
    with pytest.raises(UserError, match=r"000002\.xml: class 'cart' .*bicycle, bird, car"):
        load(tree)


def test_xml_that_does_not_parse(tree):
    (tree / "Annotations" / "000003.xml").write_text("<annotation><object>")
    with pytest.raises(UserError, match=r"000003\.xml is not valid XML"):
        load(tree)


def test_missing_annotation_points_to_unlabelled_registration(tree):
    (tree / "Annotations" / "000001.xml").unlink()
    with pytest.raises(UserError, match=r"000001\.xml does not exist .*LABELLED: False"):
        load(tree)


@pytest.mark.parametrize("text", ["", "wide", "nan"])
def test_corners_that_are_no_numbers(tree, text):
    path = tree / "Annotations" / "000001.xml"
    write_annotation(tree, "000001", [("cat", (text, 1, 50, 50), False)])
    with pytest.raises(UserError, match=r"000001\.xml: the box of 'cat' is not four numbers"):
        load(tree)
    path.write_text("<annotation><object><name>cat</name></object></annotation>")
    with pytest.raises(UserError, match="'cat' has no <bndbox>"):
        load(tree)
    path.write_text("<annotation><object/></annotation>")
    with pytest.raises(UserError, match="an object without a name"):
        load(tree)


def test_missing_image_is_named_and_counted(tree):
    (tree / "JPEGImages" / "000002.jpg").unlink()
    (tree / "JPEGImages" / "000003.jpg").unlink()
    with pytest.raises(UserError, match=r"000002\.jpg does not exist \(2 of 4 are missing\)"):
        load(tree)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_truncated_image(tree, suffix):
    path = tree / "JPEGImages" / "000002.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (500, 375, 3), dtype=np.uint8)
    path.unlink()
    path = path.with_suffix(suffix)
    Image.fromarray(noise).save(path)
    assert load(tree)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(UserError, match=rf"000002\{suffix} cannot be read, it is truncated"):
        load(tree)


def test_a_complete_jpeg_with_bytes_behind_it_is_accepted(tree):
    path = tree / "JPEGImages" / "000002.jpg"
    path.write_bytes(path.read_bytes() + b"\0" * 500)
    assert len(load(tree)) == 4


def test_a_file_that_is_no_image(tree):
    (tree / "JPEGImages" / "000004.jpg").write_text("<html>404</html>")
    with pytest.raises(UserError, match=r"000004\.jpg is not an image"):
        load(tree)


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((600, 10, 700, 50), "outside the image of 500x375"),
        ((10, 10, 50, 378), "outside the image of 500x375"),
        ((-3, 10, 50, 50), "outside the image of 500x375"),
        ((501, 10, 502, 50), "outside the image of 500x375"),  # within tolerance, but nothing left
        ((50, 10, 10, 50), "inverted"),
        ((10, 50, 50, 10), "inverted"),
        ((1, 1, 1, 1), "'extra' splits"),
    ],
)
def test_wrong_boxes(tree, box, message):
    write_annotation(tree, "000001", [("dog", box, False)])
    with pytest.raises(UserError, match=rf"000001\.xml: the box of 'dog'.*{message}"):
        load(tree)


def test_boxes_off_by_a_pixel_or_two_are_clipped_and_counted(tree, caplog):
    write_annotation(tree, "000001", [("dog", (0, 1, 502, 375), False)])
    with caplog.at_level(logging.INFO, logger="metaalign_det"):
        assert load(tree)[0]["annotations"][0]["bbox"] == [0, 0, 500, 375]
    assert "1 boxes reached a pixel or two outside" in caplog.text


def test_image_size_is_trusted_over_the_xml(tree, caplog):
    write_annotation(tree, "000001", [("dog", (1, 1, 500, 375), False)], size=(375, 500))
    d = load(tree)[0]
    assert (d["width"], d["height"]) == (500, 375)
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "000001.xml says 375x500, the image has 500x375" in warnings[0]


def test_size_is_that_after_exif_rotation(tree):
    path = tree / "JPEGImages" / "000001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (500, 375)).save(path, exif=exif)
    assert read_image_sizes([path]) == [(375, 500)]


def test_sizes_are_read_anew_when_a_file_changes(tree):
    path = tree / "JPEGImages" / "000001.jpg"
    assert read_image_sizes([path]) == [(500, 375)]
    Image.new("RGB", (20, 10)).save(path)
    assert read_image_sizes([path]) == [(20, 10)]


def test_empty_split_file(tree):
    (tree / "ImageSets" / "Main" / "train.txt").write_text("\n")
    with pytest.raises(UserError, match=r"train\.txt is empty"):
        load(tree)


def test_duplicate_in_split_file(tree):
    (tree / "ImageSets" / "Main" / "train.txt").write_text("000001\n000002\n000001\n")
    with pytest.raises(UserError, match=r"train\.txt lists '000001' twice"):
        load(tree)


@pytest.mark.parametrize("part", ["", "ImageSets", "Annotations"])
def test_missing_tree_shows_path_layout_and_miniature(tree, part):
    shutil.rmtree(tree / part)
    with pytest.raises(UserError) as caught:
        load(tree)
    message = str(caught.value)
    looked_for = tree / (part if part == "Annotations" else "ImageSets/Main/train.txt")
    assert str(looked_for) in message
    assert "JPEGImages/<id>.jpg" in message and "mini/swda_meta.yaml" in message


def test_another_number_of_images_is_a_warning(tree, caplog):
    assert len(load(tree, expected=1000)) == 4
    assert "4 images where there should be 1000" in caplog.text
    caplog.clear()
    load(tree, expected=4)
    assert not caplog.text


def test_class_names_from_the_files_are_sorted(tree, catalog):
    register_voc_domain("mine", tree, "train")
    catalog.get("mine")
    assert MetadataCatalog.get("mine").thing_classes == ["bicycle", "bird", "car", "cat"]


def test_without_a_split_every_image_with_an_xml_counts(tree):
    shutil.rmtree(tree / "ImageSets")
    everything = load_voc(tree, None, WATERCOLOR_CLASSES)
    assert [d["image_id"] for d in everything] == [f"{i:06d}" for i in range(1, 9)]
    (tree / "Annotations" / "000002.xml").unlink()
    assert len(load_voc(tree, None, WATERCOLOR_CLASSES)) == 7
    assert len(load_voc(tree, None, None, labelled=False)) == 8  # annotations are not looked at


def test_images_without_an_xml_are_negatives_on_request(tree):
    (tree / "Annotations" / "000002.xml").unlink()
    for split, images in (("train", 4), (None, 8)):
        dicts = load_voc(tree, split, WATERCOLOR_CLASSES, negatives=True)
        assert len(dicts) == images and dicts[1]["annotations"] == []
    with pytest.raises(UserError, match=r"000002.xml does not exist .*NEGATIVES: True"):
        load(tree)


def test_xml_beside_images_in_folders_as_they_like(tree, tmp_path):
    mixed = tmp_path / "mixed" / "day 1"
    mixed.mkdir(parents=True)
    (tree / "JPEGImages" / "000001.jpg").rename(mixed / "a b.JPG")
    (tree / "Annotations" / "000001.xml").rename(mixed / "a b.xml")
    (d,) = load_voc(tmp_path / "mixed", None, WATERCOLOR_CLASSES)
    assert d["image_id"] == "day 1/a b" and d["annotations"]


@pytest.mark.parametrize(
    "images, annotations", [("images", "annotations"), ("Images", "annotations/xmls")]
)
def test_folders_as_sets_on_the_net_call_them(tree, images, annotations):
    everything = load_voc(tree, None, WATERCOLOR_CLASSES)
    shutil.rmtree(tree / "ImageSets")
    (tree / "JPEGImages").rename(tree / images)
    (tree / annotations).parent.mkdir(exist_ok=True)
    (tree / "Annotations").rename(tree / annotations)
    found = load_voc(tree, None, WATERCOLOR_CLASSES)
    for a, b in zip(found, everything, strict=True):
        assert a["image_id"] == b["image_id"] and a["annotations"] == b["annotations"]
    assert len(load_voc(tree, None, None, labelled=False)) == 8


@pytest.mark.parametrize("image_id", ["../secret", "/etc/passwd", "a/../../x", "x" * 300, "a\0b"])
def test_ids_cannot_leave_the_tree(tree, image_id):
    (tree / "ImageSets" / "Main" / "train.txt").write_text(f"000001\n{image_id}\n")
    with pytest.raises(UserError, match=r"train.txt, line 2: "):
        load(tree)


@pytest.mark.parametrize("split", ["../../secret", "/etc/passwd"])
def test_splits_cannot_leave_the_tree(tree, split):
    with pytest.raises(UserError, match="SPLIT: .* lies outside"):
        load_voc(tree, split, WATERCOLOR_CLASSES)


LAUGHS = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 10))


@pytest.mark.parametrize(
    ("xml", "message"),
    [
        (f"<!DOCTYPE a [<!ENTITY l0 'ha'>{LAUGHS}]><a>&l9;</a>", "declares the entity 'l0'"),
        ("<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><a>&x;</a>", "the entity 'x'"),
        ("<?xml version='1.0' encoding='rot13'?><a/>", "is not valid XML"),
        ("<?xml version='1.0' encoding='idna'?><a/>", "is not valid XML"),
        ("<?xml version='1.0' encoding='no-such'?><a/>", "is not valid XML"),
        ("<a>" * 1000, "more than 50 elements in each other"),
        ("", "is not valid XML"),
        (b"<a>\xff</a>", "is not valid XML"),
    ],
)
def test_xml_that_is_no_annotation(tree, xml, message):
    path = tree / "Annotations" / "000001.xml"
    path.write_bytes(xml if isinstance(xml, bytes) else xml.encode())
    with pytest.raises(UserError, match=rf"000001\.xml .*{message}|000001\.xml: {message}"):
        load(tree)


def test_numbers_of_thousands_of_digits(tree):
    digits = "9" * 5000
    write_annotation(tree, "000001", [("cat", (digits, 1, 9, 9), False)], size=(digits, 1))
    with pytest.raises(UserError, match="box of 'cat' is not four numbers") as caught:
        load(tree)
    assert len(str(caught.value)) < 1000


def test_pipes_and_folders_in_the_place_of_files(tree):
    xml = tree / "Annotations" / "000001.xml"
    xml.unlink()
    os.mkfifo(xml)
    with pytest.raises(UserError, match="000001.xml is a pipe or a device"):
        load(tree)
    image = tree / "JPEGImages" / "000002.jpg"
    image.unlink()
    image.mkdir()
    with pytest.raises(UserError, match="000002.jpg is a folder"):
        load(tree)


def test_a_split_that_is_no_text(tree):
    (tree / "ImageSets" / "Main" / "train.txt").write_bytes(b"000001\n\xff\xfe\n")
    with pytest.raises(UserError, match="train.txt, line 2: byte 0xff is not UTF-8"):
        load(tree)
