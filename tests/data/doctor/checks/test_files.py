from __future__ import annotations

from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.image_facts import ImageFacts
from tests.data.doctor.inspections import inspect, unlabelled


def test_files_that_cannot_be_decoded():
    facts = {"a.jpg": ImageFacts("a.jpg", "truncated"), "b.jpg": ImageFacts("b.jpg")}
    (finding,) = inspect(unlabelled("a.jpg", "b.jpg"), facts=facts, only="unreadable")
    assert finding.severity == Severity.ERROR and finding.examples == ("a.jpg: truncated",)
