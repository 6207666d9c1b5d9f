"""The classification benchmarks by name: Office-31, Office-Home, PACS, VisDA-2017, DomainNet.

Registration reads nothing. Folders are looked for below ``DETECTRON2_DATASETS`` when the data are
used, in any spelling ("Real World", "RealWorld", "Real_World"; "OfficeHome" for "office_home").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ...miniatures import digits
from ...roots import datasets_root
from ..formats.image_files import find_below, read_list, where_to_look
from .classification import register_image_folder, register_image_list

# fmt: off
OFFICE31_CLASSES: tuple[str, ...] = (
    "back_pack", "bike", "bike_helmet", "bookcase", "bottle", "calculator", "desk_chair",
    "desk_lamp", "desktop_computer", "file_cabinet", "headphones", "keyboard", "laptop_computer",
    "letter_tray", "mobile_phone", "monitor", "mouse", "mug", "paper_notebook", "pen", "phone",
    "printer", "projector", "punchers", "ring_binder", "ruler", "scissors", "speaker", "stapler",
    "tape_dispenser", "trash_can",
)
OFFICE_HOME_CLASSES: tuple[str, ...] = (
    "Alarm_Clock", "Backpack", "Batteries", "Bed", "Bike", "Bottle", "Bucket", "Calculator",
    "Calendar", "Candles", "Chair", "Clipboards", "Computer", "Couch", "Curtains", "Desk_Lamp",
    "Drill", "Eraser", "Exit_Sign", "Fan", "File_Cabinet", "Flipflops", "Flowers", "Folder",
    "Fork", "Glasses", "Hammer", "Helmet", "Kettle", "Keyboard", "Knives", "Lamp_Shade", "Laptop",
    "Marker", "Monitor", "Mop", "Mouse", "Mug", "Notebook", "Oven", "Pan", "Paper_Clip", "Pen",
    "Pencil", "Postit_Notes", "Printer", "Push_Pin", "Radio", "Refrigerator", "Ruler", "Scissors",
    "Screwdriver", "Shelf", "Sink", "Sneakers", "Soda", "Speaker", "Spoon", "TV", "Table",
    "Telephone", "ToothBrush", "Toys", "Trash_Can", "Webcam",
)
PACS_CLASSES: tuple[str, ...] = (
    "dog", "elephant", "giraffe", "guitar", "horse", "house", "person",
)
VISDA_CLASSES: tuple[str, ...] = (
    "aeroplane", "bicycle", "bus", "car", "horse", "knife", "motorcycle", "person", "plant",
    "skateboard", "train", "truck",
)
# fmt: on

#: Images per domain, as published; the keys name the domains of each benchmark.
OFFICE31_IMAGES = {"amazon": 2817, "dslr": 498, "webcam": 795}
OFFICE_HOME_IMAGES = {"Art": 2427, "Clipart": 4365, "Product": 4439, "Real_World": 4357}
PACS_IMAGES = {"photo": 1670, "art_painting": 2048, "cartoon": 2344, "sketch": 3929}
VISDA_IMAGES = {"train": 152397, "validation": 55388}
DOMAINNET_DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")

# The publishers' lists of PACS, below pacs/image_list: name of the split -> end of the file name.
_PACS_LISTS = {"train": "train_kfold", "val": "crossval_kfold", "test": "test_kfold"}

# Folders of a benchmark as their archives unpack.
_OFFICE31 = ("office31", "office", "domain_adaptation_images")
_OFFICE_HOME = ("office_home", "OfficeHomeDataset_10072016")
_PACS = ("pacs", "pacs/kfold", "pacs/pacs_data")
_VISDA = ("visda", "visda2017", "visda-c")
_DOMAINNET = ("domainnet", "domain_net")


def register_builtin_classification() -> None:
    """Register every classification data set known by name. Calling it again changes nothing."""
    for domain, images in OFFICE31_IMAGES.items():
        folder = _Folder(_OFFICE31, (f"{domain}/images", domain))
        register_image_folder(f"office31_{domain}", folder, OFFICE31_CLASSES, images)
    for domain, images in OFFICE_HOME_IMAGES.items():
        folder = _Folder(_OFFICE_HOME, (domain,))
        register_image_folder(f"office_home_{domain.lower()}", folder, OFFICE_HOME_CLASSES, images)
    for domain, images in PACS_IMAGES.items():
        name = f"pacs_{domain}"
        register_image_folder(name, _Folder(_PACS, (domain,)), PACS_CLASSES, images)
        for split, end in _PACS_LISTS.items():
            register_image_list(
                f"{name}_{split}",
                _ListFile(_PACS[:1], f"{domain}_{end}.txt"),
                _DomainsFolder(_PACS, domain),
                PACS_CLASSES,
                domain=name,
            )
    for split, images in VISDA_IMAGES.items():
        register_image_folder(f"visda_{split}", _Folder(_VISDA, (split,)), VISDA_CLASSES, images)
    for domain in DOMAINNET_DOMAINS:
        for split in ("train", "test"):
            register_image_list(
                f"domainnet_{domain}_{split}",
                _ListFile(_DOMAINNET, f"{domain}_{split}.txt"),
                _DomainsFolder(_DOMAINNET, domain),
                domainnet_classes,
                # Some of the 345 classes have no image in the lists of some domains.
                require_all=False,
                domain=f"domainnet_{domain}",
            )
    for split, images in digits.SIZES.items():
        register_image_folder(
            f"mini_digits_{split}",
            _MiniDigits(split),
            digits.CLASSES,
            images,
            domain=f"mini_digits_{split.partition('_')[0]}",
        )


def domainnet_classes() -> tuple[str, ...]:
    """The 345 classes of DomainNet: all folder names in all of its lists, sorted.

    All lists, because every data set of a run must have the same classes, and a single list need
    not show them all.

    Raises:
        UserError: no list is there.
    """
    lists = [
        _ListFile(_DOMAINNET, f"{domain}_{split}.txt")
        for domain in DOMAINNET_DOMAINS
        for split in ("train", "test")
    ]
    found = [file for file in (one.find() for one in lists) if file is not None]
    if not found:
        lists[0]()  # raises
    names = {Path(path).parent.name for file in found for _, path, _ in read_list(file)}
    return tuple(sorted(names, key=str.casefold))


@dataclass(frozen=True)
class _Folder:
    """Finds the folder of a domain: the first that is there of the places it may be in.

    Args:
        benchmarks: folders of the benchmark below ``DETECTRON2_DATASETS``, in any spelling.
        domains: folders of the domain below it.
    """

    benchmarks: tuple[str, ...]
    domains: tuple[str, ...]

    def __call__(self) -> Path:
        root = datasets_root()
        for benchmark in self.benchmarks:
            for domain in self.domains:
                if found := find_below(root, f"{benchmark}/{domain}"):
                    return found
        path = root.absolute() / self.benchmarks[0] / self.domains[0]
        raise UserError(
            f"{path} does not exist, in no spelling. Expected:\n"
            f"    {path}/\n"
            f"        <class>/<image>.jpg   a folder per class{where_to_look()}"
        )


@dataclass(frozen=True)
class _DomainsFolder:
    """Finds the folder that holds the folders of all domains, from which lists count."""

    benchmarks: tuple[str, ...]
    domain: str

    def __call__(self) -> Path:
        return _Folder(self.benchmarks, (self.domain,))().parent


@dataclass(frozen=True)
class _ListFile:
    """Finds an image list, in ``image_list/`` below the benchmark or beside the domains."""

    benchmarks: tuple[str, ...]
    file: str

    def find(self) -> Path | None:
        for benchmark in self.benchmarks:
            for folder in (f"{benchmark}/image_list", benchmark):
                found = find_below(datasets_root(), folder)
                if found and (found / self.file).is_file():
                    return found / self.file
        return None

    def __call__(self) -> Path:
        if found := self.find():
            return found
        root = datasets_root()
        path = root.absolute() / self.benchmarks[0] / "image_list" / self.file
        raise UserError(
            f"{path} does not exist. Expected: the publishers' list, one line per image,\n"
            f"    <domain>/<class>/<image>.jpg <number>{where_to_look()}"
        )


@dataclass(frozen=True)
class _MiniDigits:
    """Generates Mini Digits on first use, and says where a split is."""

    split: str

    def __call__(self) -> Path:
        return digits.find_mini_digits() / self.split
