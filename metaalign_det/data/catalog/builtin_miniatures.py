"""The embedded classification data sets by name; generated on first use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...miniatures import icons, real_digits
from ...miniatures.digits import CLASSES as DIGITS
from .classification import register_image_folder, register_image_list


def register_builtin_miniatures() -> None:
    """Register the embedded classification data sets. Calling it again changes nothing."""
    for style in icons.STYLES:
        name = f"icons_{style}"
        register_image_folder(name, _Icons(style), icons.CLASSES)
        for split in icons.SHARES:
            register_image_list(
                f"{name}_{split}",
                _Icons(f"image_list/{style}_{split}.txt"),
                _Icons(""),
                icons.CLASSES,
                domain=name,
            )
    for name in real_digits.COLLECTIONS:
        for split in real_digits.SPLITS:
            register_image_folder(
                f"digits_{name}_{split}", _Digits(name, split), DIGITS, domain=f"digits_{name}"
            )


@dataclass(frozen=True)
class _Digits:
    """Draws real digits on first use, and says where a split of them is."""

    name: str
    split: str

    def __call__(self) -> Path:
        return real_digits.find_real_digits(self.name) / self.split


@dataclass(frozen=True)
class _Icons:
    """Draws the icons on first use, and says where a part of them is."""

    part: str

    def __call__(self) -> Path:
        return icons.find_icons() / self.part
