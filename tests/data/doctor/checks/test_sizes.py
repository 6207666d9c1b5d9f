from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T

from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.image_facts import ImageFacts
from metaalign_det.data.doctor.inspection import Subject
from metaalign_det.data.formats.problems import SizeError
from metaalign_det.errors import UserError
from tests.data.doctor.inspections import image, inspect, labelled, unlabelled
from tests.data.trees import tiny_cfg


@pytest.mark.parametrize("size, fits", [((8000, 1), False), ((1, 8000), False), ((400, 30), True)])
def test_what_cannot_be_resized_is_what_detectron2_fails_on(size, fits):
    cfg = tiny_cfg(TARGET=("target",))
    found = inspect(unlabelled("a.jpg", size=size), cfg=cfg, only="cannot_be_resized")
    resize = T.ResizeShortestEdge(cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN, "choice")
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    if fits:
        assert not found
        resize(T.AugInput(pixels))
    else:
        (finding,) = found
        assert finding.severity == Severity.ERROR
        assert f"a.jpg: {size[0]}x{size[1]}" in finding.message
        with pytest.raises(ValueError):
            resize(T.AugInput(pixels))


def test_test_images_are_resized_in_their_own_way():
    cfg = tiny_cfg(TEST=("test",))
    cfg.INPUT.MIN_SIZE_TEST = 0  # as they are
    assert not inspect(
        labelled(image("a.jpg", size=(8000, 1)), role="test"), cfg=cfg, only="cannot_be_resized"
    )


def test_thumbnails_and_strips():
    small, long, good = (
        image(f"{n}.jpg", size=s) for n, s in enumerate(((30, 40), (50, 600), (90, 90)))
    )
    findings = inspect(labelled(small, long, good), only="odd_sizes")
    assert [f.examples for f in findings] == [("0.jpg: 30x40",), ("1.jpg: 50x600",)]


def test_a_file_of_another_size_than_its_annotations_say():
    facts = {n: ImageFacts(n, size=s) for n, s in (("a.jpg", (100, 80)), ("b.jpg", (80, 100)))}
    subject = labelled(image("a.jpg"), image("b.jpg"))
    (finding,) = inspect(subject, facts=facts, only="size_disagrees")
    assert finding.examples == ("b.jpg: 80x100, said to be 100x80",)


def test_sizes_that_a_reader_did_not_believe_are_a_warning_of_their_own():
    problems = (SizeError("a.xml says 80x100, the image has 100x80"), UserError("b.xml is no XML"))
    subject = Subject("data", "d", "detection", [image("a.jpg")], None, problems)
    (finding,) = inspect(subject, only="size_disagrees")
    assert finding.severity == Severity.WARNING and finding.examples == (str(problems[0]),)
    (finding,) = inspect(subject, only="reading")
    assert finding.examples == ("b.xml is no XML",)
