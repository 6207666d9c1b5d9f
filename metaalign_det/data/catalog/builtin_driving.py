"""Street scenes by name, as their archives unpack: Cityscapes, Foggy Cityscapes, Sim10k, KITTI."""

from __future__ import annotations

from pathlib import Path

from ...roots import datasets_root
from ..formats.cityscapes import CITYSCAPES_CLASSES
from ..formats.class_names import OTHERS
from .detection import CityscapesDomain, KittiDomain, register_voc_domain
from .domain import register

#: Images per split, as published.
CITYSCAPES_IMAGES = {"train": 2975, "val": 500}
SIM10K_IMAGES = 10000
KITTI_IMAGES = 7481

#: The thickest of the three fogs, on which results are reported.
FOGGY_BETA = "0.02"

_CAR = ("car",)


def register_builtin_driving() -> None:
    """Register the data sets for cars and streets. Calling it again changes nothing."""
    for split, images in CITYSCAPES_IMAGES.items():
        for name, classes, beta in (
            (f"cityscapes_{split}", CITYSCAPES_CLASSES, None),
            (f"foggy_cityscapes_{split}", CITYSCAPES_CLASSES, FOGGY_BETA),
            (f"cityscapes_car_{split}", _CAR, None),
        ):
            register(
                CityscapesDomain(
                    name=name,
                    root="cityscapes",
                    split=split,
                    classes=classes,
                    ignore=(OTHERS,),
                    foggy_beta=beta,
                    expected=images,
                )
            )
    register_voc_domain(
        "sim10k_train",
        _sim10k,
        "trainval10k",  # the list that Sim10k itself comes with
        _CAR,
        ignore=("motorbike", "person"),
        expected=SIM10K_IMAGES,
    )
    register(
        KittiDomain(
            name="kitti_car_train",
            root="kitti/training",
            classes=_CAR,
            ignore=(OTHERS,),
            expected=KITTI_IMAGES,
        )
    )


def _sim10k() -> Path:
    """The archives unpack to a folder ``VOC2012``, which may have been moved up."""
    inner = datasets_root() / "sim10k" / "VOC2012"
    return inner if inner.is_dir() else inner.parent
