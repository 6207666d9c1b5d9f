from __future__ import annotations

from metaalign_det.data.doctor.findings import Severity
from tests.data.doctor.inspections import image, inspect, labelled, unlabelled

BOX = (10, 10, 60, 50)


def test_files_that_source_and_target_or_test_share():
    source = labelled(*(image(f"{n}.jpg", [BOX]) for n in range(3)))
    target = unlabelled("1.jpg", "9.jpg")
    test = labelled(image("2.jpg", [BOX]), role="test")
    error, warning = inspect(source, target, test, only="shared_files")
    assert error.severity == Severity.ERROR and error.examples == ("1.jpg",)
    assert "trained on with its labels" in error.message
    assert warning.severity == Severity.WARNING and warning.examples == ("2.jpg",)
    # A target may be tested on: transductive, as most benchmarks of classification are.
    assert not inspect(target, labelled(image("1.jpg", [BOX]), role="test"), only="shared_files")
