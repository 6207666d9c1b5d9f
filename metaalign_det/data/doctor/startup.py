"""What can be wrong with the data of a config, found before a model is built."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from detectron2.config import CfgNode

from ...errors import UserError
from ..loader.batch_split import split_batch_sizes
from .findings import Severity
from .inspection import Inspection, Subject
from .registry import all_findings
from .report import findings_table, summary_table
from .subjects import data_set_names, subjects_of_config

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DomainSummary:
    """One row of the table: a data set in one of its roles.

    Attributes:
        role: "source 0", ..., "target" or "test".
        name: of the data set.
        images: number of images.
        objects: number of boxes; None where they are not read or do not exist.
        classes: names, None where none are declared.
    """

    role: str
    name: str
    images: int
    objects: int | None
    classes: tuple[str, ...] | None

    @classmethod
    def of(cls, subject: Subject) -> DomainSummary:
        return cls(subject.role, subject.name, len(subject.dicts), subject.objects, subject.classes)


def check_data(cfg: CfgNode, *, train: bool = True, test: bool = True) -> list[DomainSummary]:
    """Read all data that a run will use and check that they fit each other and the model.

    The cheap part of ``metaalign-det check-data``: no image is decoded. Warnings are logged.

    Args:
        cfg: names in ``DATASETS.TRAIN``, ``TARGET`` and ``TEST``; numbers of classes.
        train: check source and target; False for a run that only evaluates.
        test: check the test sets.

    Returns:
        list[DomainSummary]: one per data set and role, also logged as a table.

    Raises:
        UserError: data missing or wrong, target images among the source's, class lists that
            differ, a number of classes in the model that is not the data's, images that cannot be
            resized. All that was found is in the message.
    """
    data_set_names(cfg, train, test)
    if train:
        split_batch_sizes(cfg)
    subjects = subjects_of_config(cfg, train=train, test=test)
    findings = all_findings(Inspection(subjects, cfg))
    errors = [str(f) for f in findings if f.severity == Severity.ERROR]
    if errors:
        raise UserError("\n".join(errors))
    logger.info("data of this run:\n%s", summary_table(subjects))
    warnings = [f for f in findings if f.severity == Severity.WARNING]
    if warnings:
        logger.warning(
            "about these data (metaalign-det check-data looks at every image):\n%s",
            findings_table(warnings),
        )
    return [DomainSummary.of(subject) for subject in subjects]
