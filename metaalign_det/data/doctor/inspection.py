"""What checks look at: data sets in their roles, the config, the content of image files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from detectron2.config import CfgNode

from ...errors import UserError
from .image_facts import ImageFacts


@dataclass(frozen=True)
class Subject:
    """A data set in one of its roles.

    Attributes:
        role: "source 0", ..., "target", "test", or "data" for one that no config gives a role.
        name: of the data set.
        kind: "detection" or "classification".
        dicts: as read; those of a target have no labels.
        classes: names, None where none are declared.
        problems: what the reader left out, if it was told to go on.
        failure: why it could read nothing at all.
    """

    role: str
    name: str
    kind: str
    dicts: Sequence[dict]
    classes: tuple[str, ...] | None
    problems: tuple[UserError, ...] = ()
    failure: UserError | None = None

    @property
    def part(self) -> str:
        """The role without a number: source, target, test or data."""
        return self.role.partition(" ")[0]

    @property
    def labelled(self) -> bool:
        return bool(self.dicts) and ("annotations" in self.dicts[0] or "label" in self.dicts[0])

    @cached_property
    def objects(self) -> int | None:
        """Number of boxes; None where they are not read or do not exist."""
        if not self.dicts or "annotations" not in self.dicts[0]:
            return None
        return sum(len(d["annotations"]) for d in self.dicts)

    def __str__(self) -> str:
        return f"{self.role} {self.name!r}"


@dataclass(frozen=True)
class Inspection:
    """Everything that the checks are given.

    Attributes:
        subjects: the data sets.
        cfg: sizes of images, number of classes; names in ``DATASETS`` if ``configured``.
        configured: the subjects are those of ``cfg.DATASETS``, in their roles; else they are data
            sets or folders by themselves.
        facts: by file name; empty for the cheap part.
    """

    subjects: Sequence[Subject]
    cfg: CfgNode
    configured: bool = True
    facts: Mapping[str, ImageFacts] = field(default_factory=dict)

    def goes_on_without(self, subject: Subject) -> bool:
        """Whether training leaves out images of a data set that cannot be read."""
        skips = self.cfg.DATALOADER.ON_BAD_IMAGE == "skip"
        return self.configured and skips and subject.part in ("source", "target")

    def of(self, part: str) -> list[Subject]:
        """The subjects of one role: source, target, test or data."""
        return [s for s in self.subjects if s.part == part]
