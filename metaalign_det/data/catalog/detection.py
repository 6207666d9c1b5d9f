"""Your own images with boxes, or without labels, under a name: a class and a call per format.

::

    register_voc_domain("garden_train", "/data/garden", "train", ["cat", "dog"])
    register_coco_domain("photos", "/data/photos", "/data/photos/instances.json")
    register_yolo_domain("traffic_train", "/data/traffic", "train")
    register_images("drawings", "/data/drawings")

after which the names can stand in ``cfg.DATASETS``. Nothing is read before the data are used; the
same call again changes nothing. Every function also takes the options of :class:`.domain.Domain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import UserError
from ..formats.boxes import ImageRecord
from ..formats.cityscapes import CITYSCAPES_CLASSES, read_cityscapes
from ..formats.coco import read_coco
from ..formats.images import read_images
from ..formats.kitti import read_kitti
from ..formats.paths import show
from ..formats.records import unlabelled_dicts
from ..formats.voc import read_voc
from ..formats.yolo import read_yolo
from .domain import (
    Classes,
    DetectionDomain,
    Domain,
    DomainOptions,
    Location,
    register,
    text_of,
)

Records = tuple[list[ImageRecord], Sequence[str] | None]


if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, kw_only=True)
class VocDomain(DetectionDomain):
    """A tree in the layout of Pascal VOC; see :func:`register_voc_domain`."""

    split: str | None = None
    negatives: bool = False

    def _normalise(self) -> None:
        super()._normalise()
        if self.split is not None:
            text_of(self.split, "split")

    def _read_records(self, root: Path, labels: bool) -> Records:
        return read_voc(root, self.split, labels=labels, negatives=self.negatives), None


@dataclass(frozen=True, kw_only=True)
class CocoDomain(DetectionDomain):
    """A folder of images and a COCO JSON; see :func:`register_coco_domain`."""

    locations = ("root", "json_file")

    json_file: Location

    def _read_records(self, root: Path, labels: bool) -> Records:
        return read_coco(self.located("json_file"), root, labels=labels)


@dataclass(frozen=True, kw_only=True)
class YoloDomain(DetectionDomain):
    """A folder with a data.yaml, images and label files; see :func:`register_yolo_domain`."""

    split: str = "train"
    data_yaml: str = "data.yaml"

    def _normalise(self) -> None:
        super()._normalise()
        text_of(self.split, "split")
        text_of(self.data_yaml, "data_yaml")

    def _read_records(self, root: Path, labels: bool) -> Records:
        return read_yolo(root / Path(self.data_yaml).expanduser(), root, self.split, labels=labels)


@dataclass(frozen=True, kw_only=True)
class ImagesDomain(Domain):
    """Images without labels, anywhere; see :func:`register_images`."""

    kind = "images"
    locations = ()

    root: Location | tuple[Path, ...]
    list_root: str | Path | None = None
    labelled: bool = False

    def _normalise(self) -> None:
        super()._normalise()
        if self.labelled:
            raise UserError("FORMAT images has no labels: leave LABELLED out")
        places = [self.root] if isinstance(self.root, str | Path) else self.root
        if not isinstance(places, Sequence) or not places:
            raise UserError(f"ROOT must be a folder, a glob or a list, not {show(self.root)}")
        if not all(isinstance(p, Path) or text_of(p, "root") for p in places):
            raise UserError(f"ROOT must hold paths, not {show(self.root)}")
        self._set("root", tuple(map(Path, places)))
        if self.list_root is not None and not isinstance(self.list_root, Path):
            self._set("list_root", Path(text_of(self.list_root, "list_root")))

    def _read(self, labels: bool) -> tuple[None, list[dict]]:
        return None, unlabelled_dicts(read_images(self.root, self.list_root))


@dataclass(frozen=True, kw_only=True)
class CityscapesDomain(DetectionDomain):
    """Cityscapes, or Foggy Cityscapes; see :func:`.formats.cityscapes.read_cityscapes`."""

    split: str
    foggy_beta: str | None = None

    def _normalise(self) -> None:
        super()._normalise()
        text_of(self.split, "split")
        if self.foggy_beta is not None:
            self._set("foggy_beta", str(self.foggy_beta))

    def _read_records(self, root: Path, labels: bool) -> Records:
        records = read_cityscapes(root, self.split, labels=labels, foggy_beta=self.foggy_beta)
        return records, CITYSCAPES_CLASSES


@dataclass(frozen=True, kw_only=True)
class KittiDomain(DetectionDomain):
    """KITTI's training images; see :func:`.formats.kitti.read_kitti`."""

    def _read_records(self, root: Path, labels: bool) -> Records:
        return read_kitti(root, labels=labels), None


def register_voc_domain(
    name: str,
    root: Location,
    split: str | None = None,
    classes: Classes | None = None,
    *,
    negatives: bool = False,
    **options: Unpack[DomainOptions],
) -> None:
    """Register a VOC-format folder of yours as a domain, source or target.

    Args:
        name: for ``cfg.DATASETS``.
        root: folder with ``Annotations``, ``JPEGImages`` and, for a split, ``ImageSets/Main``;
            without a split also ``annotations`` and ``images``, or any folder with XML files beside
            their images. Relative paths are below ``DETECTRON2_DATASETS``.
        split: name of a list in ``ImageSets/Main``, without ``.txt``; None = all images that have
            an XML.
        classes: class names in the order of their numbers; None = those of all objects, in
            alphabetical order, when the data are read.
        negatives: images without an XML are images without objects.
        **options: see :class:`.domain.Domain`.

    Raises:
        UserError: the name is taken by other data, or an argument is of the wrong kind.
    """
    register(
        VocDomain(
            name=name, root=root, split=split, classes=classes, negatives=negatives, **options
        )
    )


def register_coco_domain(
    name: str,
    root: Location,
    json_file: Location,
    classes: Classes | None = None,
    **options: Unpack[DomainOptions],
) -> None:
    """Register images with a COCO detection JSON as a domain.

    Args:
        name: for ``cfg.DATASETS``.
        root: folder that the ``file_name`` entries start from.
        json_file: with ``images``, ``categories``, ``annotations``; a relative path is below
            ``DETECTRON2_DATASETS``, as root's.
        classes: None = all categories, by rising id.
        **options: see :class:`.domain.Domain`.

    Raises:
        UserError: as :func:`register_voc_domain`.
    """
    register(CocoDomain(name=name, root=root, json_file=json_file, classes=classes, **options))


def register_yolo_domain(
    name: str,
    root: Location,
    split: str = "train",
    classes: Classes | None = None,
    *,
    data_yaml: str = "data.yaml",
    **options: Unpack[DomainOptions],
) -> None:
    """Register a data set in the format of YOLO as a domain.

    Args:
        name: for ``cfg.DATASETS``.
        root: folder that holds everything; paths in data.yaml must not leave it.
        split: key of data.yaml: "train", "val" or "test".
        classes: None = all ``names`` of data.yaml, in their order.
        data_yaml: the data file, from root on.
        **options: see :class:`.domain.Domain`.

    Raises:
        UserError: as :func:`register_voc_domain`.
    """
    register(
        YoloDomain(
            name=name, root=root, split=split, classes=classes, data_yaml=data_yaml, **options
        )
    )


def register_images(
    name: str,
    root: str | Path | Sequence[str | Path],
    *,
    list_root: str | Path | None = None,
    expected: int | None = None,
    domain: str | None = None,
) -> None:
    """Register any images as an unlabelled target, for detection or classification.

    Args:
        name: for ``cfg.DATASETS.TARGET``.
        root: a folder (everything below it, however nested), a glob (``"scans/**/*.png"``), an
            image, a text file with one path a line, or a sequence of these.
        list_root: folder that the lines of text files start from and must not leave; None = the
            folder of the text file.
        expected, domain: see :class:`.domain.Domain`.

    Raises:
        UserError: as :func:`register_voc_domain`.
    """
    register(
        ImagesDomain(name=name, root=root, list_root=list_root, expected=expected, domain=domain)
    )
