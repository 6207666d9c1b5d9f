"""How much there is: images, objects, what the reader had to leave out, what has one id."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.data import DatasetCatalog, MetadataCatalog

from ....errors import BadImageError
from ...catalog.detection import ImagesDomain
from ...formats.paths import resolve
from ...formats.problems import AreaError, SizeError
from ..detect import labels_not_read
from ..findings import Finding, Severity, check
from ..inspection import Inspection, Subject
from .files import bad_image_verdict

_FEW = 10
_ELSEWHERE = (BadImageError, SizeError, AreaError)  # told by themselves


@check()
def reading(inspection: Inspection) -> Iterator[Finding]:
    """Images and annotations that the reader could not use."""
    for subject in inspection.subjects:
        images = [str(p) for p in subject.problems if isinstance(p, BadImageError)]
        others = [str(p) for p in subject.problems if not isinstance(p, _ELSEWHERE)]
        if images:
            severity, remedy = bad_image_verdict(inspection, subject)
            yield Finding(
                severity,
                subject.name,
                f"{len(images)} image(s) are missing or cannot be read",
                remedy,
                len(images),
                tuple(images),
            )
        if others:
            yield Finding(
                Severity.ERROR,
                subject.name,
                f"{len(others)} annotation(s) are wrong",
                "Correct the files named",
                len(others),
                tuple(others),
            )
        if subject.failure is not None:
            yield Finding(
                Severity.ERROR,
                subject.name,
                "nothing of it can be read",
                "Correct what is named; nothing else of it was checked",
                examples=(str(subject.failure),),
            )
        if unread := _labels_not_read(subject):
            yield Finding(
                Severity.WARNING,
                subject.name,
                unread,
                "A source and a test set need them; a target does not",
            )


def _labels_not_read(subject: Subject) -> str:
    """What labels lie beside the images of a folder that was found to have none."""
    if subject.part != "data" or subject.name not in DatasetCatalog:
        return ""
    domain = DatasetCatalog[subject.name]
    if not isinstance(domain, ImagesDomain) or len(domain.root) != 1:
        return ""
    return labels_not_read(resolve(domain.root[0]))


@check()
def no_object(inspection: Inspection) -> Iterator[Finding]:
    """A detector needs at least one object to learn from."""
    sources = [s for s in inspection.of("source") if s.objects is not None]
    if sources and not any(s.objects for s in sources):
        names = ", ".join(s.name for s in sources)
        yield Finding(
            Severity.ERROR,
            names,
            f"DATASETS.TRAIN: no object in any of {names}",
            "Label some, or check the class names of its registration",
        )


@check()
def images_without_objects(inspection: Inspection) -> Iterator[Finding]:
    """Background images are fine; many of them may be a forgotten annotation."""
    for subject in inspection.subjects:
        if not subject.objects:
            continue
        empty = tuple(d["file_name"] for d in subject.dicts if not d["annotations"])
        if empty:
            many = len(empty) > len(subject.dicts) / 2
            skipped = inspection.cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
            yield Finding(
                Severity.WARNING if many else Severity.NOTE,
                subject.name,
                f"{len(empty)} of {len(subject.dicts)} images have no object",
                "Fine for background images"
                + (
                    "; a source leaves them out (DATALOADER.FILTER_EMPTY_ANNOTATIONS)"
                    if skipped
                    else ""
                ),
                len(empty),
                empty,
            )


@check()
def number_of_images(inspection: Inspection) -> Iterator[Finding]:
    """An incomplete download, or too little to mean anything."""
    for subject in inspection.subjects:
        expected = MetadataCatalog.get(subject.name).get("expected", None)
        # A selection of classes leaves out images by itself: no verdict on fewer.
        if expected is not None and len(subject.dicts) > expected:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(subject.dicts)} images where its publishers count {expected}",
                "Check that it is the data set it is called",
            )
        if 0 < len(subject.dicts) < _FEW:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"only {len(subject.dicts)} image(s)",
                "Scores and statistics of so few mean little: collect more",
            )


@check()
def repeated_ids(inspection: Inspection) -> Iterator[Finding]:
    """Test images of a classifier have an id of their own: its answers are kept by id."""
    for subject in inspection.of("test"):
        if subject.kind != "classification":
            continue
        files: dict[object, str] = {}
        repeated = []
        for d in subject.dicts:
            file = d["file_name"]
            image = d.get("image_id", file)
            if (first := files.setdefault(image, file)) != file:
                repeated.append(f"{image!r}: {first} and {file}")
        if repeated:
            yield Finding(
                Severity.ERROR,
                subject.name,
                f"{len(repeated)} image(s) have the image_id of another file, for one "
                f"{repeated[0]}",
                "Give each file an image_id of its own, or none",
                len(repeated),
                tuple(repeated),
            )
