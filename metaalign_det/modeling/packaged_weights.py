"""Weights that come with this package, under names like ``metaalign://mini_source.safetensors``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from ..errors import UserError

#: What the names begin with; ``detectron2://`` is Detectron2's own.
PREFIX = "metaalign://"
FOLDER = Path(__file__).parents[1] / "miniatures" / "weights"


class PackagedWeights(PathHandler):
    """Finds ``metaalign://NAME`` among the files of the package."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: object) -> str:
        name = path[len(PREFIX) :]
        there = sorted(p.name for p in FOLDER.glob("*.safetensors"))
        if name not in there:
            raise UserError(
                f"MODEL.WEIGHTS: this package has no weights {name!r}, only {', '.join(there)}"
            )
        return str(FOLDER / name)

    def _open(self, path: str, mode: str = "r", **kwargs: object) -> Any:
        return PathManager.open(self._get_local_path(path), mode, **kwargs)

    def _isfile(self, path: str, **kwargs: object) -> bool:
        return Path(self._get_local_path(path)).is_file()


def register_packaged_weights() -> None:
    """Make the names known to Detectron2's ``PathManager``; calling it twice is safe."""
    PathManager.register_handler(PackagedWeights(), allow_override=True)
