"""Lists of a VOC tree: ids with blanks, and VOC's own with a second column."""

from __future__ import annotations

import pytest

from metaalign_det.data.formats.voc import read_voc
from metaalign_det.errors import UserError


@pytest.fixture
def tree(own_root):
    return own_root / "watercolor"


def rename(tree, old, new):
    for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
        (tree / folder / f"{old}{suffix}").rename(tree / folder / f"{new}{suffix}")


def ids_of(tree, split, text):
    (tree / "ImageSets" / "Main" / f"{split}.txt").write_text(text)
    return [record.image_id for record in read_voc(tree, split)]


def test_class_wise_split_files_have_a_second_column(tree):
    assert ids_of(tree, "cat_train", "000001 -1\n000003  1\n") == ["000001", "000003"]


def test_ids_with_spaces(tree):
    rename(tree, "000001", "first one")
    assert ids_of(tree, "train", "first one\n000002\n") == ["first one", "000002"]


def test_ids_that_look_like_a_second_column_are_those_of_their_images(tree):
    for n in (0, 1):
        rename(tree, f"00000{n + 1}", f"im {n}")
    assert ids_of(tree, "train", "im 0\nim 1\n") == ["im 0", "im 1"]


def test_ids_with_folders(tree):
    for folder in ("JPEGImages", "Annotations"):
        (tree / folder / "by day").mkdir()
    rename(tree, "000001", "by day/000001")
    assert ids_of(tree, "train", "by day/000001\n000002\n") == ["by day/000001", "000002"]


def test_ids_with_a_suffix_are_told_to_have_none(tree):
    with pytest.raises(UserError, match="must list ids without a suffix, not 000001.jpg"):
        ids_of(tree, "train", "000001.jpg\n")


def test_xml_files_without_an_image_are_warned_of_where_no_list_tells(tree, caplog):
    (tree / "JPEGImages" / "000001.jpg").rename(tree / "JPEGImages" / "000001.heic")
    images = len(read_voc(tree, None))
    assert "1 XML files have no image of their name" in caplog.text
    assert "for one 000001.xml" in caplog.text
    caplog.clear()
    assert len(read_voc(tree, None, labels=False)) == images and "XML" not in caplog.text


def test_xml_files_in_capitals_are_those_of_their_images_by_whatever_way(tree, caplog):
    xml = tree / "Annotations" / "000001.xml"
    xml.rename(xml.with_suffix(".XML"))
    read_voc(tree / ".." / tree.name, None)
    assert "XML" not in caplog.text
