"""Image files that cannot be decoded, or show nothing."""

from __future__ import annotations

from collections.abc import Iterator

from ..findings import Finding, Severity, check
from ..inspection import Inspection, Subject


def bad_image_verdict(inspection: Inspection, subject: Subject) -> tuple[Severity, str]:
    """How bad it is that images of a data set cannot be read, and what to do about it."""
    if inspection.goes_on_without(subject):
        remedy = "None needed: DATALOADER.ON_BAD_IMAGE is skip, training goes on without them"
        return Severity.WARNING, remedy
    if subject.part == "test":
        return Severity.ERROR, "Replace or remove them: test images must all be readable"
    return Severity.ERROR, "Replace or remove them, or train with DATALOADER.ON_BAD_IMAGE skip"


@check(pixels=True)
def unreadable(inspection: Inspection) -> Iterator[Finding]:
    """Files that fail when all of them is decoded."""
    for subject in inspection.subjects:
        bad = tuple(
            f"{d['file_name']}: {facts.error}"
            for d in subject.dicts
            if (facts := inspection.facts.get(d["file_name"])) is not None and facts.error
        )
        if bad:
            severity, remedy = bad_image_verdict(inspection, subject)
            yield Finding(
                severity,
                subject.name,
                f"{len(bad)} image(s) cannot be decoded",
                remedy,
                len(bad),
                bad,
            )


@check(pixels=True)
def blank(inspection: Inspection) -> Iterator[Finding]:
    """Pictures of one color."""
    for subject in inspection.subjects:
        flat = tuple(
            d["file_name"]
            for d in subject.dicts
            if (facts := inspection.facts.get(d["file_name"])) is not None and facts.flat
        )
        if flat:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(flat)} image(s) show nothing: nearly all of their pixels are equal",
                "Remove them, unless that is what the camera sees",
                len(flat),
                flat,
            )
