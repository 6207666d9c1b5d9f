"""Where data sets are: below one folder, as everywhere in Detectron2."""

from __future__ import annotations

import os
from pathlib import Path


def datasets_root(root: str | Path | None = None) -> Path:
    """Folder of all data sets: ``root`` where one is given, with ``~`` expanded.

    Else ``$DETECTRON2_DATASETS``, or else ``./datasets``, absolute; read anew at each call. As in a
    shell, ``~nobody`` of a user who does not exist stays as it is.
    """
    if root is not None:
        return Path(os.path.expanduser(root))
    root = os.environ.get("DETECTRON2_DATASETS", "datasets")
    return Path(os.path.expanduser(root)).absolute()


def resolve_root(root: str | Path) -> Path:
    """An absolute path (or ``~``) as it is, a relative one below :func:`datasets_root`.

    One with ``..`` is resolved as the operating system does, links included: what is below it can
    then be told by its name.
    """
    path = datasets_root() / os.path.expanduser(root)
    return path.resolve() if ".." in path.parts else path
