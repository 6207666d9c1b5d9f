"""The public data sets and the embedded ones by name.

Registered when :mod:`metaalign_det.data` is imported. Nothing is read then: roots are relative to
``DETECTRON2_DATASETS`` and are looked up when the data are.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...miniatures.splits import CLASSES as MINI_CLASSES
from ...miniatures.splits import mini_splits
from ..formats.voc import VOC_CLASSES, WATERCOLOR_CLASSES
from .builtin_classification import register_builtin_classification
from .builtin_driving import register_builtin_driving
from .builtin_miniatures import register_builtin_miniatures
from .detection import register_voc_domain

#: name -> (root, split, classes, images), the images as counted by the publishers.
VOC_SETS: dict[str, tuple[str, str, tuple[str, ...], int | None]] = {
    "voc20_2007_trainval": ("VOC2007", "trainval", VOC_CLASSES, 5011),
    "voc20_2012_trainval": ("VOC2012", "trainval", VOC_CLASSES, 11540),
    "voc20_2007_test": ("VOC2007", "test", VOC_CLASSES, 4952),
    "voc6_2007_trainval": ("VOC2007", "trainval", WATERCOLOR_CLASSES, 5011),
    "voc6_2012_trainval": ("VOC2012", "trainval", WATERCOLOR_CLASSES, 11540),
    "voc6_2007_test": ("VOC2007", "test", WATERCOLOR_CLASSES, 4952),
    "watercolor_train": ("watercolor", "train", WATERCOLOR_CLASSES, 1000),
    "watercolor_test": ("watercolor", "test", WATERCOLOR_CLASSES, 1000),
    "comic_train": ("comic", "train", WATERCOLOR_CLASSES, 1000),
    "comic_test": ("comic", "test", WATERCOLOR_CLASSES, 1000),
    "clipart_train": ("clipart", "train", VOC_CLASSES, 500),
    "clipart_test": ("clipart", "test", VOC_CLASSES, 500),
}


def register_builtin() -> None:
    """Register every data set this package knows by name, for detection and classification."""
    for name, (root, split, classes, images) in VOC_SETS.items():
        register_voc_domain(
            name,
            root,
            split,
            classes,
            ignore=VOC_CLASSES if name.startswith("voc6") else (),
            # Training on six of the twenty classes uses the images that show one of them; the
            # score of a test set counts false alarms on the others as well.
            keep_empty=not (name.startswith("voc6") and split == "trainval"),
            expected=images,
        )
    for name, (root, split) in mini_splits("").items():
        prepare = _GenerateMini(root.parts[0])
        register_voc_domain(name, root, split, MINI_CLASSES, prepare=prepare)
    register_builtin_driving()
    register_builtin_classification()
    register_builtin_miniatures()


@dataclass(frozen=True)
class _GenerateMini:
    """Generates a miniature on first use; what is there, however it was made, is kept."""

    folder: str

    def __call__(self) -> None:
        # Imported here: only whoever reads a miniature needs it.
        from ...miniatures.build import ensure_collection

        ensure_collection(self.folder)
