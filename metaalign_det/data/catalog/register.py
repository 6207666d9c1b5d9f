"""Data sets that a config declares, in ``DATASETS.REGISTER``."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields

from detectron2.config import CfgNode

from ...errors import UserError
from ..formats.paths import show
from .classification import FolderDomain, ImageListDomain
from .detection import (
    CityscapesDomain,
    CocoDomain,
    ImagesDomain,
    KittiDomain,
    VocDomain,
    YoloDomain,
)
from .domain import Domain, register

#: ``FORMAT`` of an entry -> what it makes; the class's fields in capitals are the other keys.
FORMATS: dict[str, type[Domain]] = {
    "voc": VocDomain,
    "coco": CocoDomain,
    "yolo": YoloDomain,
    "images": ImagesDomain,
    "folder": FolderDomain,
    "image_list": ImageListDomain,
    "cityscapes": CityscapesDomain,
    "kitti": KittiDomain,
}


def register_from_config(cfg: CfgNode) -> None:
    """Register what ``cfg.DATASETS.REGISTER`` lists. Idempotent: calling it twice is safe.

    Every entry is a mapping: ``FORMAT`` is a key of :data:`FORMATS`, the other keys are the
    arguments of the format's ``register_...`` function in capitals.

    Raises:
        UserError: an entry without a needed key, with an unknown one, of an unknown format, or
            with a value of the wrong kind; names the entry and the key.
    """
    entries = cfg.DATASETS.REGISTER
    if isinstance(entries, str) or not isinstance(entries, list | tuple):
        raise UserError(f"DATASETS.REGISTER must be a list of mappings, not {show(entries)}")
    for number, entry in enumerate(entries):
        register(_domain(entry, f"DATASETS.REGISTER[{number}]"))


def _domain(entry: object, where: str) -> Domain:
    if not isinstance(entry, Mapping):
        raise UserError(f"{where} must be a mapping with NAME, FORMAT, ROOT; it is {show(entry)}")
    arguments = {str(key): value for key, value in entry.items()}
    kind = arguments.pop("FORMAT", None)
    if not isinstance(kind, str) or kind not in FORMATS:
        raise UserError(f"{where}: FORMAT must be one of {', '.join(FORMATS)}, not {show(kind)}")
    made = FORMATS[kind]
    legal = {f.name.upper(): f for f in fields(made) if f.name not in made.internal}
    for key in arguments:
        if key not in legal:
            near = difflib.get_close_matches(key.upper()[:100], legal, n=1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise UserError(
                f"{where}: unknown key {show(key)}{hint}; there are: FORMAT, {', '.join(legal)}"
            )
    for key, value in legal.items():
        if _is_needed(value) and key not in arguments:
            raise UserError(f"{where}: the key {key} is missing from {show(dict(entry))}")
    try:
        return made(**{key.lower(): value for key, value in arguments.items()})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _is_needed(argument: Field) -> bool:
    return argument.default is MISSING and argument.default_factory is MISSING
