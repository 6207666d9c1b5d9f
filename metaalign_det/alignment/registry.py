"""Alignment methods by the name a config gives them."""

from __future__ import annotations

from typing import Any

from .base import AlignmentMethod
from .cdan import CDAN
from .dann import DANN, DANNPE
from .gvb import GVB
from .mmd import MMD

#: The legal values of ``MODEL.ALIGN.METHOD``, besides "none".
ALIGNMENT_METHODS: dict[str, type[AlignmentMethod]] = {
    "dann": DANN,
    "dannpe": DANNPE,
    "cdan": CDAN,
    "mmd": MMD,
    "gvb": GVB,
}


def build_alignment_method(
    name: str, in_features: int, num_classes: int, num_domains: int = 2, **options: Any
) -> AlignmentMethod:
    """An alignment method by name.

    Args:
        name: a key of :data:`ALIGNMENT_METHODS`.
        in_features: C, width of the features it sees.
        num_classes: K.
        num_domains: D >= 2.
        options: keyword arguments of that method's class.

    Raises:
        ValueError: an unknown name, or fewer than two domains.
    """
    if name not in ALIGNMENT_METHODS:
        raise ValueError(
            f"unknown alignment method {name!r}; choose one of {', '.join(ALIGNMENT_METHODS)}"
        )
    if num_domains < 2:
        raise ValueError(f"there is nothing to align between fewer than 2 domains: {num_domains}")
    return ALIGNMENT_METHODS[name](in_features, num_classes, num_domains, **options)
