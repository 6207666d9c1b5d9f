"""What is registered under a name: one shape for every format."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import ClassVar, TypedDict

from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError
from ..formats.boxes import ImageRecord
from ..formats.class_names import ClassRule, shorten
from ..formats.paths import resolve, show
from ..formats.records import labelled_dicts, unlabelled_dicts, warn_once

#: A folder or file, or a function that finds it when the data are read.
Location = str | Path | Callable[[], Path]
#: Class names in the order of their numbers, or a function that reads them with the data.
Classes = Sequence[str] | Callable[[], Sequence[str]]

_MAX_NAME = 150  # a name becomes part of file names, which end at 255 bytes


class DomainOptions(TypedDict, total=False):
    """What every ``register_...`` function accepts beside its own arguments; see :class:`Domain`.

    In ``DATASETS.REGISTER`` the same in capitals.
    """

    class_map: Mapping[str, str]
    ignore: Sequence[str]
    labelled: bool
    keep_empty: bool
    expected: int | None
    domain: str | None
    prepare: Callable[[], object] | None


@dataclass(frozen=True, kw_only=True)
class Domain(ABC):
    """A data set under a name. Making one reads nothing; calling it reads the data from disk.

    Args:
        name: in Detectron2's catalogs.
        root: folder of the data; a relative one is below ``DETECTRON2_DATASETS`` when they are
            read.
        classes: names in the order of the category numbers; None = all that the data have.
        class_map: name in the data -> class it becomes: renames and merges.
        ignore: names in the data whose objects are dropped, unless they are in ``classes``;
            ``["*"]`` drops all that are not. Any other name is an error.
        labelled: False = there are no labels to read; such a set can only be a target.
        keep_empty: False leaves out images without any object of the classes, where labels are
            read.
        expected: number of images that there should be; another number gives a warning, as part
            of a data set is good enough for a trial.
        domain: what the images are of; splits of one domain share it. None = ``name``.
        prepare: called before reading, for data that can be generated.

    Two are equal if they read the same in the same way.

    Raises:
        UserError: an argument of the wrong kind, classes that contradict each other.
    """

    #: Kind of data, Detectron2's ``evaluator_type``: "detection", "classification" or "images"
    #: (no labels at all: a target for either).
    kind: ClassVar[str]
    #: Fields that name a file or folder.
    locations: ClassVar[tuple[str, ...]] = ("root",)
    #: Fields that are not set from a config.
    internal: ClassVar[tuple[str, ...]] = ("prepare",)

    name: str
    root: Location
    classes: Classes | None = None
    class_map: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    ignore: Sequence[str] | frozenset[str] = frozenset()
    labelled: bool = True
    keep_empty: bool = True
    expected: int | None = None
    domain: str | None = None
    prepare: Callable[[], object] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        try:
            self._normalise()
            if not callable(self.classes):
                self._rule(self.classes)
        except UserError as error:
            raise UserError(f"data set {self.name!r}: {error}") from error

    def __call__(self) -> list[dict]:
        """Dataset dicts with their labels, if there are any.

        Where it is registered, the class names become the ``thing_classes`` of its metadata, if
        they were not known.

        Raises:
            UserError: data missing or wrong; names the data set, the file and what to do.
        """
        return self._load(labels=self.labelled)

    def without_labels(self) -> list[dict]:
        """Dataset dicts as a target has them: annotations on disk are not even looked at.

        No image is left out because of its objects, since that would use the labels too.
        """
        return self._load(labels=False)

    @abstractmethod
    def _read(self, labels: bool) -> tuple[tuple[str, ...] | None, list[dict]]:
        """Class names (None without labels) and dataset dicts of all images."""

    def _load(self, labels: bool) -> list[dict]:
        try:
            if self.prepare is not None:
                self.prepare()
            names, dicts = self._read(labels)
            if self.expected not in (None, len(dicts)):
                warn_once(
                    f"{self.name}: {len(dicts)} images where there should be {self.expected}; is "
                    "the download complete?"
                )
            if labels and not self.keep_empty:
                dicts = self._with_objects(dicts, names or ())
            # One that is not in the catalog is nobody's to ask about.
            if names is not None and self.name in DatasetCatalog:
                self._declare(names)
        except UserError as error:
            raise UserError(f"data set {self.name!r}: {error}") from error
        return dicts

    def located(self, key: str) -> Path:
        """Where a file or folder is now."""
        value = getattr(self, key)
        return resolve(value() if callable(value) else value)

    def rule(self) -> ClassRule:
        """The classes, read now if they are to be read."""
        return self._rule(self.classes() if callable(self.classes) else self.classes)

    def _rule(self, classes: Sequence[str] | None) -> ClassRule:
        return ClassRule(
            None if classes is None else tuple(classes), tuple(self.class_map), self.ignore
        )

    def _with_objects(self, dicts: list[dict], names: Sequence[str]) -> list[dict]:
        kept = [d for d in dicts if d.get("annotations", True)]
        if not kept:
            raise UserError(f"no image has an object of {shorten(names)}")
        return kept

    def _declare(self, names: Sequence[str]) -> None:
        metadata = MetadataCatalog.get(self.name)
        known = metadata.get("thing_classes", None)
        if known is None:
            metadata.set(thing_classes=list(names))
        elif list(known) != list(names):
            raise UserError(
                f"its classes were {shorten(known)} when it was read first, now they are "
                f"{shorten(names)}: name them in CLASSES"
            )

    def _normalise(self) -> None:
        """One form for equal settings, and an error for values of the wrong kind."""
        for key in self.locations:
            self._set(key, _location(getattr(self, key), key))
        if not callable(self.classes) and self.classes is not None:
            self._set("classes", names_of(self.classes, "classes"))
            if not self.classes:
                raise UserError("CLASSES is empty: name a class, or leave it out")
        self._set("class_map", tuple(sorted(_pairs(self.class_map))))
        self._set("ignore", frozenset(names_of(self.ignore, "ignore")))
        for f in fields(self):
            value = getattr(self, f.name)
            if f.type == "bool" and not isinstance(value, bool):
                raise UserError(f"{f.name.upper()} must be True or False, not {show(value)}")
        expected = self.expected
        if expected is not None and (isinstance(expected, bool) or not isinstance(expected, int)):
            raise UserError(f"EXPECTED must be a number of images, not {show(expected)}")
        if self.domain is not None:
            self._set("domain", text_of(self.domain, "domain"))

    def _set(self, key: str, value: object) -> None:
        object.__setattr__(self, key, value)  # the dataclass is frozen for everybody else


class DetectionDomain(Domain):
    """A domain whose images have boxes."""

    kind = "detection"

    def _read(self, labels: bool) -> tuple[tuple[str, ...] | None, list[dict]]:
        records, declared = self._read_records(self.located("root"), labels)
        if not labels:
            return None, unlabelled_dicts(records)
        return labelled_dicts(records, self.rule(), declared)

    @abstractmethod
    def _read_records(
        self, root: Path, labels: bool
    ) -> tuple[list[ImageRecord], Sequence[str] | None]:
        """All images, and the class names that the data declare themselves, if they do."""


def register(domain: Domain) -> None:
    """Enter a domain into Detectron2's catalogs under its name. Idempotent: twice is safe.

    Raises:
        UserError: the name is taken by other data.
    """
    name = domain.name
    if name in DatasetCatalog:
        if DatasetCatalog[name] != domain:
            raise UserError(
                f"data set {name!r} is registered already, differently: "
                f"{reprlib.repr(repr(DatasetCatalog[name]))}. Choose another name"
            )
        return
    DatasetCatalog.register(name, domain)
    metadata = MetadataCatalog.get(name)
    metadata.set(evaluator_type=domain.kind, domain=domain.domain or name)
    metadata.set(labelled=domain.labelled, expected=domain.expected)
    if domain.classes is not None and not callable(domain.classes):
        metadata.set(thing_classes=list(domain.classes))


def check_name(name: object) -> None:
    """A data set's name becomes part of file names, and must not lead elsewhere.

    Raises:
        UserError: no text, empty, too long, with a slash or characters that cannot be printed.
    """
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"the NAME of a data set must be a text, not {show(name)}")
    if len(name) > _MAX_NAME or "/" in name or "\\" in name or name.startswith("."):
        raise UserError(
            f"the NAME of a data set, {show(name)}, must not start with a dot, hold slashes, or "
            f"have more than {_MAX_NAME} characters: files are called after it"
        )
    if not name.isprintable():
        raise UserError(f"the NAME of a data set, {show(name)}, cannot be printed")


def text_of(value: object, key: str) -> str:
    """``value``, which must be a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{key.upper()} must be a text, not {show(value)}")
    return value


def names_of(value: object, key: str) -> tuple[str, ...]:
    """``value``, which must be a list of names."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence | frozenset):
        raise UserError(f"{key.upper()} must be a list of names, not {show(value)}")
    for name in value:
        if not isinstance(name, str) or not name.strip():
            hint = " (YAML reads yes, no, on and 12 as something else: quote them)"
            raise UserError(f"{key.upper()} must be a list of names; {show(name)} is none{hint}")
    return tuple(value)


def _pairs(value: object) -> list[tuple[str, str]]:
    if not isinstance(value, Mapping):
        if value == () or (isinstance(value, tuple) and all(isinstance(p, tuple) for p in value)):
            return list(value)
        raise UserError(
            f"CLASS_MAP must map names in the data to classes, {{automobile: car}}, not "
            f"{show(value)}"
        )
    return [
        (text_of(k, "a name in CLASS_MAP"), text_of(v, "a class in CLASS_MAP"))
        for k, v in value.items()
    ]


def _location(value: object, key: str) -> object:
    if callable(value):
        return value
    if isinstance(value, Path):
        return value
    return Path(text_of(value, key))
