"""Boxes without area that a reader has left out are in the table all the same."""

from __future__ import annotations

import pytest

from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.inspection import Subject
from metaalign_det.data.formats.coco import read_coco
from metaalign_det.data.formats.kitti import read_kitti
from metaalign_det.data.formats.problems import AreaError, collected
from metaalign_det.data.formats.yolo import read_yolo
from tests.data.doctor.inspections import image, inspect
from tests.data.make_tiny_formats import (
    coco_json,
    make_tiny_coco,
    make_tiny_kitti,
    make_tiny_yolo,
)


def coco(root):
    content = coco_json()
    content["annotations"][1]["bbox"] = [30, 55, 37, 0]
    return lambda: read_coco(make_tiny_coco(root, content), root / "images")[0]


def yolo(root):
    data = make_tiny_yolo(root)
    (root / "labels/train/0 b.txt").write_text("0 .5 .5 .2 .2\n0 0.5 0.5 0.25 0\n")
    return lambda: read_yolo(data, root, "train")[0]


def kitti(root):
    root = make_tiny_kitti(root)
    line = "Car 0.00 0 -1.57 10.50 20.00 10.50 50.00 1.6 1.7 3.7 -16.5 2.4 58.5 -1.33\n"
    (root / "label_2/000000.txt").write_text(line)
    return lambda: read_kitti(root)


@pytest.mark.parametrize(
    "make, named",
    [
        (coco, "annotations[1]: the box, (30, 55, 67, 55) in pixels, has no area"),
        (yolo, "0 b.txt, line 2: the box, (30, 30, 50, 30) in pixels, has no area"),
        (kitti, "000000.txt, line 1: the box, (10.5, 20, 10.5, 50) in pixels, has no area"),
    ],
)
def test_each_is_named_with_its_corners(tmp_path, caplog, make, named):
    read = make(tmp_path)
    with collected() as problems:
        read()
    subject = Subject("data", "d", "detection", [image("a.jpg")], None, tuple(problems))
    (finding,) = inspect(subject, only="boxes_without_area")
    assert finding.severity == Severity.WARNING and finding.count == 1
    assert named in finding.examples[0]
    assert not caplog.text
    read()
    assert f"1 boxes without area are left out, for one: {finding.examples[0][:20]}" in caplog.text
    assert named.removesuffix(", has no area") in caplog.text


def test_they_and_those_that_a_function_kept_are_two_findings():
    problems = (AreaError("a.xml: the box of 'cat', (1, 2, 1, 9) in pixels, has no area"),)
    kept = [image("a.jpg", [(3, 3, 3, 9)])]
    found = inspect(Subject("data", "d", "detection", kept, None, problems))
    severities = [f.severity for f in found if f.check == "boxes_without_area"]
    assert sorted(severities) == [Severity.ERROR, Severity.WARNING]
