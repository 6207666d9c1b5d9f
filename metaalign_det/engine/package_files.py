"""``package://<package>/<path>``: a file inside an installed Python package, for any path."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler

from ..errors import UserError

PREFIX = "package://"


class PackageFiles(PathHandler):
    """Lets Detectron2's ``PathManager``, and with it ``MODEL.WEIGHTS``, read package data.

    Nothing of the package is imported or run.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        """
        Raises:
            UserError: the package is not installed (says how to), or has no such file.
        """
        package, _, rest = path.removeprefix(PREFIX).partition("/")
        spec = find_spec(package) if package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise UserError(f"{path}: the package is not installed; pip install {package}")
        for folder in spec.submodule_search_locations:
            if (file := Path(folder, rest)).is_file():
                return str(file)
        raise UserError(f"{path}: the installed package has no file {rest!r}")

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        return open(self._get_local_path(path), mode, buffering)

    def _exists(self, path: str, **kwargs: Any) -> bool:
        return self._isfile(path)

    def _isfile(self, path: str, **kwargs: Any) -> bool:
        try:
            return bool(self._get_local_path(path))
        except UserError:
            return False


def register_package_files() -> None:
    """Make ``package://`` known to Detectron2; idempotent."""
    PathManager.register_handler(PackageFiles(), allow_override=True)
