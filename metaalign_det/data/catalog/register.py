"""Data sets of any VOC-format folder under a name, and those that a config declares."""

from __future__ import annotations

import difflib
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from ...errors import UserError
from ...roots import resolve_root
from ..formats.voc import load_voc, read_class_names

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VocDomain:
    """What is registered under a name: calling it reads the data from disk.

    Args:
        name: in Detectron2's catalogs.
        root: VOC folder; a relative one is below ``DETECTRON2_DATASETS`` at the time of reading.
        split: name of the list in ``ImageSets/Main``.
        classes: names in the order of the category numbers; None without labels.
        labelled: False = there are no boxes to read.
        ignore_classes: names whose objects are dropped.
        keep_empty: keep images without objects.
        expected: number of images that the split should list; others give a warning.
        prepare: called before reading, for data that can be generated.
    """

    name: str
    root: Path
    split: str
    classes: tuple[str, ...] | None
    labelled: bool = True
    ignore_classes: frozenset[str] = frozenset()
    keep_empty: bool = True
    expected: int | None = None
    prepare: Callable[[], object] | None = field(default=None, repr=False)

    def __call__(self) -> list[dict]:
        """Dataset dicts with annotations, if there are any; see :func:`.voc.load_voc`."""
        return self._read(labels=self.labelled)

    def without_labels(self) -> list[dict]:
        """Dataset dicts as a target has them: the annotations on disk are not even opened.

        No image is left out because of its objects, since that would use the labels too.
        """
        return self._read(labels=False)

    def _read(self, labels: bool) -> list[dict]:
        if self.prepare is not None:
            self.prepare()
        root = resolve_root(self.root)
        try:
            dicts = load_voc(
                root,
                self.split,
                self.classes,
                labels=labels,
                ignore_classes=self.ignore_classes,
                keep_empty=self.keep_empty or not labels,
                expected=self.expected,
            )
        except UserError as error:
            raise UserError(f"data set {self.name!r}: {error}") from error
        return dicts


def register_voc_domain(
    name: str,
    root: str | Path,
    split: str,
    classes: Sequence[str] | None = None,
    *,
    labelled: bool = True,
    ignore_classes: Sequence[str] = (),
    keep_empty: bool = True,
    expected: int | None = None,
    prepare: Callable[[], object] | None = None,
) -> None:
    """Register a VOC-format folder of yours as a domain, source or target.

    ::

        register_voc_domain("garden_train", "/data/garden", "train", ["cat", "dog"])
        register_voc_domain("sketch_train", "/data/sketches", "train", labelled=False)

    after which both names can stand in ``cfg.DATASETS``. The same call again changes nothing.
    Nothing is read before the data are used, unless ``classes`` has to be found out.

    Args:
        name: for ``cfg.DATASETS``.
        root: folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``; relative paths
            are below ``DETECTRON2_DATASETS``.
        split: name of a list in ``ImageSets/Main``, without ``.txt``.
        classes: class names; their order is that of the category numbers and must be the same in
            source, target and test. None reads them from the XML files now, in alphabetical order.
        labelled: False if there are no annotations; such a set can only be a target.
        ignore_classes: names in the XML whose objects are to be dropped.
        keep_empty: False leaves out images without any object of ``classes``.
        expected: number of images the split should list; a different number gives a warning.
        prepare: called before the data are read, to generate them.

    Raises:
        UserError: the name is taken by other data, or the classes cannot be read.
    """
    if isinstance(classes, str):
        raise UserError(f"data set {name!r}: classes must be a list of names, not {classes!r}")
    if classes is not None and len(set(classes)) < len(classes):
        raise UserError(f"data set {name!r}: a class is named twice in {list(classes)}")
    if classes is None and labelled:
        try:
            classes = read_class_names(resolve_root(root), split)
        except UserError as error:
            raise UserError(f"data set {name!r}: {error}") from error
    domain = VocDomain(
        name,
        Path(root).expanduser(),
        split,
        None if classes is None else tuple(classes),
        labelled,
        frozenset(ignore_classes),
        keep_empty,
        expected,
        prepare,
    )
    if name in DatasetCatalog:
        if DatasetCatalog[name] != domain:
            raise UserError(
                f"data set {name!r} is registered already, differently: {DatasetCatalog[name]}; "
                f"now asked for: {domain}. Choose another name"
            )
        return
    DatasetCatalog.register(name, domain)
    metadata = MetadataCatalog.get(name)
    metadata.set(evaluator_type="voc_domain", voc_root=str(domain.root), split=split)
    metadata.set(labelled=labelled, expected=expected)
    if domain.classes is not None:
        metadata.set(thing_classes=list(domain.classes))


def register_from_config(cfg: CfgNode) -> None:
    """Register what ``cfg.DATASETS.REGISTER`` lists; again is harmless.

    Every entry is a mapping: ``FORMAT`` chooses the function (voc: :func:`register_voc_domain`,
    folder and image_list: those of :mod:`.datasets.image_list`), the other keys are its arguments
    in capitals.

    Raises:
        UserError: an entry without a needed key, with an unknown one, or of an unknown format.
    """
    for number, entry in enumerate(cfg.DATASETS.REGISTER):
        where = f"DATASETS.REGISTER[{number}]"
        if not isinstance(entry, dict):
            raise UserError(f"{where} must be a mapping with NAME, FORMAT, ROOT; it is {entry!r}")
        arguments = {str(key): value for key, value in entry.items()}
        function = _registrar(arguments.pop("FORMAT", None), where)
        legal = {p.name.upper(): p for p in inspect.signature(function).parameters.values()}
        for key in arguments:
            if key not in legal:
                near = difflib.get_close_matches(key.upper(), legal, n=1)
                hint = f" (did you mean {near[0]}?)" if near else ""
                raise UserError(
                    f"{where}: unknown key {key!r}{hint}; there are: FORMAT, {', '.join(legal)}"
                )
        for key, parameter in legal.items():
            if parameter.default is inspect.Parameter.empty and key not in arguments:
                raise UserError(f"{where}: the key {key} is missing from {dict(entry)}")
        function(**{key.lower(): value for key, value in arguments.items()})


def _registrar(format_name: object, where: str) -> Callable[..., None]:
    if format_name == "voc":
        return register_voc_domain
    if format_name in ("folder", "image_list"):
        from ..formats import image_list

        if format_name == "folder":
            return image_list.register_image_folder
        return image_list.register_image_list
    raise UserError(f"{where}: FORMAT must be voc, folder or image_list, not {format_name!r}")
