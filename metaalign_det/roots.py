"""Where data sets are: below one folder, as everywhere in Detectron2."""

from __future__ import annotations

import os
from pathlib import Path


def datasets_root() -> Path:
    """``$DETECTRON2_DATASETS``, or else ``./datasets``, absolute; read anew at each call."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser().absolute()


def resolve_root(root: str | Path) -> Path:
    """An absolute path (or ``~``) as it is, a relative one below :func:`datasets_root`."""
    return datasets_root() / Path(root).expanduser()
