"""Norms that a config names for a backbone, checked before a layer is built with them."""

from __future__ import annotations

from collections.abc import Iterable

from detectron2.layers import get_norm

from ..errors import UserError

#: Of Detectron2's "GN", whatever the number of channels.
_GROUPS = 32
_LEGAL = '"" (none), BN, SyncBN, FrozenBN, GN or LN'


def check_norm(key: str, norm: str, channels: Iterable[int], remedy: str) -> None:
    """Whether layers of these widths can have the norm.

    Args:
        key: of the config, that names the norm.
        norm: its value, as ``detectron2.layers.get_norm`` takes it.
        channels: output channels of the layers.
        remedy: which key has these channels, and what to set it to for GroupNorm.

    Raises:
        UserError: there is no norm of the name; GroupNorm, whose 32 groups do not divide them.
    """
    try:
        get_norm(norm, _GROUPS)
    except KeyError:
        raise UserError(f"{key} {norm!r}: must be {_LEGAL}") from None
    unfit = sorted({c for c in channels if c % _GROUPS})
    if norm == "GN" and unfit:
        raise UserError(
            f"{key} 'GN': GroupNorm has {_GROUPS} groups, which do not divide layers of "
            f"{', '.join(map(str, unfit))} channels; {remedy}"
        )
