"""Images of a size that training cannot use, or that is not what the annotations say."""

from __future__ import annotations

from collections.abc import Iterator

from detectron2.config import CfgNode
from detectron2.data.transforms import ResizeShortestEdge

from ...formats.problems import SizeError
from ..findings import Finding, Severity, check
from ..inspection import Inspection, Subject

_SMALL = 32  # pixels of the shorter side: two cells of the usual feature map
_LONG = 10  # longer over shorter side


@check()
def cannot_be_resized(inspection: Inspection) -> Iterator[Finding]:
    """An image so long that its shorter side becomes 0 pixels ends training in a bare error."""
    for subject in inspection.subjects:
        if subject.kind != "detection":
            continue
        lost = [
            f"{d['file_name']}: {w}x{h}" for d, w, h in _sizes(subject, inspection)
            if _vanishes(w, h, inspection.cfg, test=subject.part == "test")
        ]  # fmt: skip
        if lost:
            yield Finding(
                Severity.ERROR,
                subject.name,
                f"{len(lost)} image(s) cannot be resized, their shorter side becomes 0 pixels: "
                f"{lost[0]}",
                "Crop or remove them, or raise INPUT.MAX_SIZE_TRAIN and MAX_SIZE_TEST",
                len(lost),
                tuple(lost),
            )


@check()
def odd_sizes(inspection: Inspection) -> Iterator[Finding]:
    """Very small and very long images."""
    for subject in inspection.subjects:
        small, long = [], []
        for d, width, height in _sizes(subject, inspection):
            what = f"{d['file_name']}: {width}x{height}"
            if min(width, height) < _SMALL and subject.kind == "detection":
                small.append(what)
            if max(width, height) > _LONG * min(width, height):
                long.append(what)
        if small:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(small)} image(s) are less than {_SMALL} pixels wide or high",
                "Icons or thumbnails? Remove them, or use the originals",
                len(small),
                tuple(small),
            )
        if long:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(long)} image(s) are more than {_LONG} times as long as wide",
                "Cut them into pieces, or remove them: shrunk to fit, they show little",
                len(long),
                tuple(long),
            )


@check()
def size_disagrees(inspection: Inspection) -> Iterator[Finding]:
    """Sizes in annotations that the file contradicts.

    Readers of this package believe the file, and go on; other functions may not.
    """
    for subject in inspection.subjects:
        claimed = tuple(str(p) for p in subject.problems if isinstance(p, SizeError))
        if claimed:
            yield Finding(
                Severity.WARNING,
                subject.name,
                f"{len(claimed)} annotation(s) give their image another size than it has",
                "The image is believed. Was it resized, or turned by its EXIF, after labelling? "
                "Then its boxes are wrong: use the originals, or label anew",
                len(claimed),
                claimed,
            )
        wrong = []
        for d in subject.dicts:
            facts = inspection.facts.get(d["file_name"])
            if facts is None or facts.error or "width" not in d:
                continue
            if facts.size != (d["width"], d["height"]):
                wrong.append(
                    f"{d['file_name']}: {facts.size[0]}x{facts.size[1]}, said to be "
                    f"{d['width']}x{d['height']}"
                )
        if wrong:
            yield Finding(
                Severity.ERROR,
                subject.name,
                f"{len(wrong)} image(s) are of another size than their annotations say",
                "Were they resized or turned after labelling? Use the originals, or label anew",
                len(wrong),
                tuple(wrong),
            )


def _sizes(subject: Subject, inspection: Inspection) -> Iterator[tuple[dict, int, int]]:
    """Width and height of every image as far as they are known."""
    for d in subject.dicts:
        facts = inspection.facts.get(d["file_name"])
        if "width" in d:
            yield d, int(d["width"]), int(d["height"])
        elif facts is not None and not facts.error:
            yield d, *facts.size


def _vanishes(width: int, height: int, cfg: CfgNode, test: bool) -> bool:
    node = cfg.INPUT
    shortest = [node.MIN_SIZE_TEST] if test else list(node.MIN_SIZE_TRAIN)
    longest = node.MAX_SIZE_TEST if test else node.MAX_SIZE_TRAIN
    if not min(width, height):
        return True
    if not min(shortest):  # 0 = images are used as they are
        return False
    # The smallest of the sizes is the worst; a range lies above its lower end.
    return not min(ResizeShortestEdge.get_output_shape(height, width, min(shortest), longest))
