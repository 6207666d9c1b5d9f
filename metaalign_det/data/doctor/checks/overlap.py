"""Target images among the source's: the target would be trained on with its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from detectron2.data import MetadataCatalog

from ....errors import UserError
from ...catalog.classes import check_held_out
from ..findings import Finding, Severity, check
from ..inspection import Inspection


@check()
def target_among_sources(inspection: Inspection) -> Iterator[Finding]:
    """No target domain is a source domain, under whatever name or split."""
    if not inspection.of("source"):
        return
    cfg = inspection.cfg
    yield from _held_out(cfg.DATASETS.TRAIN, cfg.DATASETS.TARGET)
    # Domain generalisation is measured on at least one domain that was not trained on.
    if cfg.MODEL.ALIGN.BETWEEN == "sources" and inspection.of("test"):
        sources = {_domain(name) for name in cfg.DATASETS.TRAIN}
        if all(_domain(name) in sources for name in cfg.DATASETS.TEST):
            yield from _held_out(cfg.DATASETS.TRAIN, cfg.DATASETS.TEST)


@check()
def shared_files(inspection: Inspection) -> Iterator[Finding]:
    """The same files as source and target, or as source and test."""
    sources = {d["file_name"] for s in inspection.of("source") for d in s.dicts}
    for part, severity, consequence in (
        ("target", Severity.ERROR, "the target would be trained on with its labels"),
        ("test", Severity.WARNING, "the score is on images that were trained on with their labels"),
    ):
        key = f"DATASETS.{part.upper()}"
        for subject in inspection.of(part):
            shared = sorted(sources.intersection(d["file_name"] for d in subject.dicts))
            if shared:
                yield Finding(
                    severity,
                    subject.name,
                    f"{key} {subject.name!r} and DATASETS.TRAIN "
                    f"{tuple(inspection.cfg.DATASETS.TRAIN)} share {len(shared)} image(s), for one "
                    f"{shared[0]}: {consequence}",
                    "Take them out of one of the two",
                    len(shared),
                    tuple(shared),
                )


def _held_out(sources: Sequence[str], targets: Sequence[str]) -> Iterator[Finding]:
    try:
        check_held_out(sources, targets)
    except UserError as error:
        yield Finding(Severity.ERROR, ", ".join(targets), str(error))


def _domain(name: str) -> str:
    return MetadataCatalog.get(name).get("domain", None) or name
