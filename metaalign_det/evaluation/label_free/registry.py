"""The validators by name.

A new one is written in a file of its own and listed here, or put into ``VALIDATORS`` by a plug-in.
"""

from __future__ import annotations

from ...config_files import meant_or_plugged_in
from ...errors import UserError
from .class_structure import BNM, CORR_C
from .das import FIS, PDR
from .detection_confidence import DET_CONFIDENCE, DET_ENTROPY
from .ensemble import ENSV
from .entropy import ENTROPY, INFOMAX
from .importance import DEV
from .mixup import MIXVAL
from .neighborhood import SND
from .validator import Validator

VALIDATORS: dict[str, Validator] = {
    v.name: v
    for v in (
        ENTROPY,
        INFOMAX,
        BNM,
        CORR_C,
        SND,
        DEV,
        MIXVAL,
        ENSV,
        FIS,
        PDR,
        DET_ENTROPY,
        DET_CONFIDENCE,
    )
}

#: The one that chooses where none is named, by task.
DEFAULTS = {"classification": "ensv", "detection": "fis"}


def get_validator(name: str) -> Validator:
    """Look a validator up.

    Raises:
        UserError: there is none of that name.
    """
    if name not in VALIDATORS:
        raise UserError(
            f"there is no validator {name!r}: {', '.join(VALIDATORS)}"
            f"{meant_or_plugged_in(name, VALIDATORS)}"
        )
    return VALIDATORS[name]
