"""Your own images with one class each under a name: a folder per class, or a list of files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..formats.image_list import read_folder, read_image_list, read_unsorted
from ..views.detection import without_labels
from .domain import Classes, Domain, DomainOptions, Location, register

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True, kw_only=True)
class FolderDomain(Domain):
    """A folder per class; see :func:`register_image_folder`."""

    kind = "classification"

    require_all: bool = True

    def _read(self, labels: bool) -> tuple[tuple[str, ...] | None, list[dict]]:
        root = self.located("root")
        if not self.labelled:
            return None, read_unsorted(root)
        names, dicts = read_folder(root, self.rule(), require_all=self.require_all)
        # Sorted into folders, an image cannot be found without its label, but handed on it can.
        return names, dicts if labels else [without_labels(d) for d in dicts]


@dataclass(frozen=True, kw_only=True)
class ImageListDomain(Domain):
    """A list of images; see :func:`register_image_list`."""

    kind = "classification"
    locations = ("root", "list_file")

    list_file: Location
    numbered: bool = False
    require_all: bool = True

    def _read(self, labels: bool) -> tuple[tuple[str, ...] | None, list[dict]]:
        root = self.located("root")
        names, dicts = read_image_list(
            self.located("list_file"),
            root,
            self.rule(),
            numbered=self.numbered,
            require_all=self.require_all,
            labels=labels,
        )
        return (names if labels else None), dicts


def register_image_folder(
    name: str,
    root: Location,
    classes: Classes | None = None,
    expected: int | None = None,
    *,
    require_all: bool = True,
    **options: Unpack[DomainOptions],
) -> None:
    """Register a tree ``<root>/<class>/**/<image>`` under a name.

    Args:
        name: for ``cfg.DATASETS``.
        root: folder of one domain; a relative one is below ``DETECTRON2_DATASETS``.
        classes: classes in the order of their labels; None = the names of the folders, sorted.
            Folders are matched to them without regard to case, spaces, underscores and hyphens.
            Folders of other names are left out, with a warning unless ``ignore`` names them.
        expected: number of images that there should be; another number is a warning.
        require_all: a class without images is an error; False = a warning.
        **options: see :class:`.domain.Domain`; ``labelled=False`` takes every image anywhere
            below ``root``.

    Raises:
        UserError: the name is taken by other data, or an argument is of the wrong kind.
    """
    register(
        FolderDomain(
            name=name,
            root=root,
            classes=classes,
            expected=expected,
            require_all=require_all,
            **options,
        )
    )


def register_image_list(
    name: str,
    list_file: Location,
    root: Location,
    classes: Classes | None = None,
    expected: int | None = None,
    *,
    numbered: bool = False,
    require_all: bool = True,
    **options: Unpack[DomainOptions],
) -> None:
    """Register a list of images, one path a line, under a name.

    Args:
        name: for ``cfg.DATASETS``.
        list_file: the list; a relative path is below ``DETECTRON2_DATASETS``.
        root: folder that the paths in it start from and must not leave.
        classes: classes in the order of their labels; None = all folder names, sorted.
        expected, require_all: see :func:`register_image_folder`.
        numbered: the number behind each path is the index into the classes, from 0, and folders
            are not looked at: for lists whose images are not in folders by class.
        **options: see :class:`.domain.Domain`.

    Raises:
        UserError: as :func:`register_image_folder`.
    """
    register(
        ImageListDomain(
            name=name,
            root=root,
            list_file=list_file,
            classes=classes,
            expected=expected,
            numbered=numbered,
            require_all=require_all,
            **options,
        )
    )
