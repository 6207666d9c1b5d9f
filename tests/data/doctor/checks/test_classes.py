from __future__ import annotations

from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.inspection import Subject
from tests.data.doctor.inspections import image, inspect, labelled

BOX = (10, 10, 60, 50)


def test_class_numbers_beyond_the_names():
    subject = labelled(image("a.jpg", [BOX] * 2, classes=[0, 2]), image("b.jpg", [BOX]))
    (finding,) = inspect(subject, only="class_numbers")
    assert finding.severity == Severity.ERROR and finding.examples == ("a.jpg: [2]",)
    assert "outside 0 to 1" in finding.message


def test_classes_without_and_with_few_objects():
    subject = labelled(*(image(f"{n}.jpg", [BOX]) for n in range(9)))
    missing, few = inspect(subject, only="rare_classes")
    assert (missing.severity, missing.examples) == (Severity.WARNING, ("dog",))
    assert "cannot be learned" in missing.remedy
    assert (few.severity, few.examples) == (Severity.NOTE, ("cat (9)",))
    test = Subject("test", "t", "detection", subject.dicts, subject.classes)
    assert "left out of the mean" in inspect(test, only="rare_classes")[0].remedy


def test_images_of_a_class_count_for_classification():
    dicts = [{"file_name": f"{n}.jpg", "label": n % 2} for n in range(30)]
    subject = Subject("source 0", "s", "classification", dicts, ("cat", "dog"))
    assert not inspect(subject, only="rare_classes")
    subject = Subject("source 0", "s", "classification", dicts, ("cat", "dog", "yak"))
    (finding,) = inspect(subject, only="rare_classes")
    assert finding.message == "no images of yak"


def test_lists_that_differ_are_compared_pair_by_pair():
    first = labelled(image("a.jpg", [BOX]))
    other = labelled(image("b.jpg", [BOX]), role="test", classes=("dog", "yak"))
    (finding,) = inspect(first, other, only="class_lists")
    assert finding.data == "source_0, test" and "'test' lacks cat" in finding.message
    reordered = labelled(image("b.jpg", [BOX]), role="test", classes=("Dog", "cat"))
    assert not inspect(first, reordered, only="class_lists")
