from __future__ import annotations

from metaalign_det.data.doctor.findings import Severity
from metaalign_det.data.doctor.image_facts import ImageFacts
from tests.data.doctor.inspections import inspect, unlabelled
from tests.data.trees import tiny_cfg


def test_files_that_cannot_be_decoded():
    facts = {"a.jpg": ImageFacts("a.jpg", "truncated"), "b.jpg": ImageFacts("b.jpg")}
    (finding,) = inspect(unlabelled("a.jpg", "b.jpg"), facts=facts, only="unreadable")
    assert finding.severity == Severity.ERROR and finding.examples == ("a.jpg: truncated",)


def test_they_are_warnings_where_training_goes_on_without_them():
    facts = {f: ImageFacts(f, "truncated") for f in ("a.jpg", "b.jpg")}
    target, test = unlabelled("a.jpg"), unlabelled("b.jpg", role="test")
    for policy, severity in (("error", Severity.ERROR), ("skip", Severity.WARNING)):
        cfg = tiny_cfg(TARGET=["target"], TEST=["test"])
        cfg.DATALOADER.ON_BAD_IMAGE = policy
        found = inspect(target, test, facts=facts, cfg=cfg, only="unreadable")
        by_name = {f.data: f for f in found}
        assert by_name["target"].severity == severity
        assert "training goes on" in by_name["target"].remedy or policy == "error"
        assert by_name["test"].severity == Severity.ERROR
        assert "must all be readable" in by_name["test"].remedy
