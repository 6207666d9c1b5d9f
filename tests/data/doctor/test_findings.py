"""The registry of checks."""

from __future__ import annotations

import pytest

from metaalign_det.data.doctor.findings import Severity, check
from metaalign_det.data.doctor.registry import registered_checks
from tests.data.doctor.inspections import image, inspect, labelled


def test_every_module_of_checks_is_found():
    names = {c.name for c in registered_checks()}
    assert {"reading", "boxes_outside", "class_lists", "copies", "unreadable"} <= names
    assert {"cannot_be_resized", "shared_files"} <= names


def test_two_checks_of_one_name_are_refused():
    registered_checks()

    def boxes_outside(inspection):
        yield

    with pytest.raises(ValueError, match="two checks named 'boxes_outside'"):
        check()(boxes_outside)


def test_the_worst_comes_first_and_a_data_set_in_two_roles_is_reported_once():
    bad = image("a.jpg", [(50, 10, 10, 50)])  # inverted: an error; few images: a warning
    subjects = [labelled(bad, role=role, name="both") for role in ("source 0", "test")]
    found = inspect(*subjects)
    assert [f.severity for f in found] == sorted(
        (f.severity for f in found), key=list(Severity).index
    )
    assert sum(f.check == "boxes_without_area" for f in found) == 1
