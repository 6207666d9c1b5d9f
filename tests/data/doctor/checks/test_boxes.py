from __future__ import annotations

import pytest
from detectron2.structures import BoxMode

from metaalign_det.data.doctor.findings import Severity
from tests.data.doctor.inspections import image, inspect, labelled

GOOD = (10, 10, 60, 50)


@pytest.mark.parametrize(
    "box, check, severity",
    [
        ((10, 10, 110, 50), "boxes_outside", Severity.ERROR),
        ((-20, 10, 50, 50), "boxes_outside", Severity.ERROR),
        ((float("nan"), 10, 50, 50), "boxes_outside", Severity.ERROR),
        ((10, 10, 10, 50), "boxes_without_area", Severity.ERROR),
        ((50, 10, 10, 50), "boxes_without_area", Severity.ERROR),
        ((10, 10, 12, 50), "boxes_tiny", Severity.NOTE),
    ],
)
def test_a_wrong_box_is_found_and_its_file_named(box, check, severity):
    subject = labelled(image("good.jpg", [GOOD]), image("bad.jpg", [GOOD, box]))
    (finding,) = inspect(subject, only=check)
    assert finding.severity == severity and finding.count == 1
    assert finding.message.startswith("1 of 3 boxes") and finding.data == "source_0"
    (example,) = finding.examples
    assert example.startswith("bad.jpg: (")
    assert not inspect(labelled(image("good.jpg", [GOOD])), only=check)


def test_a_box_may_leave_its_image_by_what_tools_are_off():
    assert not inspect(labelled(image("a.jpg", [(-1, 0, 101, 80)])), only="boxes_outside")


def test_boxes_with_width_and_height_are_understood():
    d = image("a.jpg", [(60, 50, 50, 40)])
    assert inspect(labelled(d), only="boxes_without_area")
    d["annotations"][0]["bbox_mode"] = BoxMode.XYWH_ABS
    assert not inspect(labelled(d), only="boxes_without_area")
    (finding,) = inspect(labelled(d), only="boxes_outside")
    assert finding.examples == ("a.jpg: (60, 50, 110, 90)",)


def test_an_object_that_is_labelled_twice():
    twice = image("a.jpg", [GOOD, GOOD], classes=[1, 1])
    other_class = image("b.jpg", [GOOD, GOOD], classes=[0, 1])
    (finding,) = inspect(labelled(twice, other_class), only="boxes_twice")
    assert finding.count == 1 and finding.severity == Severity.WARNING
    assert finding.examples == ("a.jpg: class 1, box (10, 10, 60, 50)",)
