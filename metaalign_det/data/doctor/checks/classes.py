"""Class lists that must agree, and classes that nothing shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ....errors import UserError
from ...catalog.classes import agree, check_number, declared_classes
from ...formats.class_names import shorten
from ..findings import Finding, Severity, check
from ..inspection import Inspection

_FEW = 10


@check()
def class_lists(inspection: Inspection) -> Iterator[Finding]:
    """All data sets of a run go together, and with the model; see :func:`.classes.run_classes`."""
    if not inspection.configured:
        return
    data = inspection.cfg.DATASETS
    # Also of data sets that are not read now, as of the source where a model is only evaluated.
    names = dict.fromkeys((*data.TRAIN, *data.TEST, *data.TARGET))
    known = {s.name: s.classes for s in inspection.subjects}
    lists = {name: known.get(name) or declared_classes(name) for name in names}
    lists = {name: classes for name, classes in lists.items() if classes is not None}
    classification = any(s.kind == "classification" for s in inspection.subjects)
    head = "CLASSIFIER" if classification else "ROI_HEADS"
    try:
        classes = agree(lists, data.CLASSES)
        if classes is not None:
            key = f"MODEL.{head}.NUM_CLASSES"
            check_number(classes, key, inspection.cfg.MODEL[head].NUM_CLASSES)
        elif classification:
            raise UserError("none of the data sets has class names: give CLASSES")
    except UserError as error:
        yield Finding(Severity.ERROR, ", ".join(lists), str(error))


@check()
def class_numbers(inspection: Inspection) -> Iterator[Finding]:
    """Labels are numbers of classes: from 0, below their count."""
    for subject in inspection.subjects:
        if not subject.labelled or subject.classes is None:
            continue
        wrong = tuple(
            f"{d['file_name']}: {sorted(numbers)}"
            for d in subject.dicts
            if (numbers := {n for n in _labels(d) if not 0 <= n < len(subject.classes)})
        )
        if wrong:
            yield Finding(
                Severity.ERROR,
                subject.name,
                f"{len(wrong)} image(s) have class numbers outside 0 to {len(subject.classes) - 1}",
                "Numbers count from 0, in the order of the class names: correct the registration",
                len(wrong),
                wrong,
            )


@check()
def rare_classes(inspection: Inspection) -> Iterator[Finding]:
    """Classes that a source does not show cannot be learned; a test set cannot score them."""
    for subject in inspection.subjects:
        if not subject.labelled or subject.classes is None:
            continue
        counts = Counter(n for d in subject.dicts for n in _labels(d))
        what = "objects" if subject.kind == "detection" else "images"
        none = [name for n, name in enumerate(subject.classes) if not counts[n]]
        few = [
            f"{name} ({counts[n]})"
            for n, name in enumerate(subject.classes)
            if 0 < counts[n] < _FEW
        ]
        if none:
            test = subject.part == "test"
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"no {what} of {shorten(none)}",
                "They are left out of the mean score"
                if test
                else "They cannot be learned: label some, or leave the classes out",
                len(none),
                tuple(none),
            )
        if few:
            yield Finding(
                Severity.NOTE,
                subject.name,
                f"fewer than {_FEW} {what} of {shorten(few)}",
                "Their scores depend on chance: collect more, or merge classes",
                len(few),
                tuple(few),
            )


def _labels(d: dict) -> list[int]:
    if "label" in d:
        return [int(d["label"])]
    return [int(a["category_id"]) for a in d.get("annotations", ())]
