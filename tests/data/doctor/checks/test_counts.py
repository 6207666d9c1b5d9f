from __future__ import annotations

from detectron2.data import MetadataCatalog

from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.inspection import Subject
from metaalign_det.data.formats.problems import AreaError, SizeError
from metaalign_det.errors import BadImageError, UserError
from tests.data.doctor.inspections import image, inspect, labelled

BOX = (10, 10, 60, 50)


def test_what_the_reader_left_out_is_all_listed():
    problems = (BadImageError("a.jpg", "does not exist"), UserError("b.xml is not valid XML"))
    subject = Subject("test", "t", "detection", [image("c.jpg", [BOX])], None, problems)
    images, others = inspect(subject, only="reading")
    assert images.examples == ("image a.jpg does not exist",)
    assert "test images must all be readable" in images.remedy
    assert others.examples == ("b.xml is not valid XML",)
    assert {images.severity, others.severity} == {Severity.ERROR}


def test_what_cannot_be_read_at_all_is_no_wrong_annotation():
    subject = Subject("target", "t", "detection", [], None, failure=UserError("/gone is missing"))
    (finding,) = inspect(subject, only="reading")
    assert finding.message == "nothing of it can be read" and finding.severity == Severity.ERROR
    assert finding.examples == ("/gone is missing",)


def test_what_has_a_check_of_its_own_is_not_told_twice():
    problems = (AreaError("b.xml: the box has no area"), SizeError("c.xml says 1x1"))
    assert not inspect(Subject("data", "t", "detection", [], None, problems), only="reading")


def test_nothing_to_learn():
    empty = labelled(image("a.jpg"))
    (finding,) = inspect(empty, only="no_object")
    assert finding.message == "DATASETS.TRAIN: no object in any of source_0"
    assert not inspect(empty, labelled(image("b.jpg", [BOX]), role="source 1"), only="no_object")


def test_background_images_are_fine_until_they_are_most():
    def finding(empty, full):
        dicts = [image(f"{n}.jpg", [BOX] * (n >= empty)) for n in range(empty + full)]
        return inspect(labelled(*dicts), only="images_without_objects")

    assert not finding(0, 3)
    assert finding(1, 3)[0].severity == Severity.NOTE
    assert finding(4, 3)[0].severity == Severity.WARNING and finding(4, 3)[0].count == 4


def test_few_images_and_more_than_there_should_be(catalog):
    MetadataCatalog.get("counted").set(expected=11)
    images = [image(f"{n}.jpg", [BOX]) for n in range(12)]
    found = inspect(labelled(*images, name="counted"), only="number_of_images")
    assert [f.message for f in found] == ["12 images where its publishers count 11"]
    found = inspect(labelled(*images[:9], name="counted"), only="number_of_images")
    assert [f.message for f in found] == ["only 9 image(s)"]
    MetadataCatalog.pop("counted")


def test_a_classifiers_test_images_have_ids_of_their_own():
    def findings(*dicts, kind="classification"):
        return inspect(Subject("test", "t", kind, dicts, None), only="repeated_ids")

    one, other = ({"file_name": f"{n}.jpg", "image_id": 7, "label": 0} for n in "ab")
    (finding,) = findings(one, other)
    assert finding.severity == Severity.ERROR
    assert finding.examples == ("7: a.jpg and b.jpg",)
    assert not findings(one, dict(one)) and not findings(one, other, kind="detection")
    assert not findings(*({"file_name": f, "label": 0} for f in ("a.jpg", "b.jpg")))
