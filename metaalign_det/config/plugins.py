"""Modules of the user's own that register methods, coordinators, backbones or data sets.

``METAALIGN_PLUGINS="my_method my_data"`` names them, as Python imports them. They are imported
before a config is read, in every command and every process that one starts. A config names no
module: whoever opens the run of somebody else executes nothing of theirs.
"""

from __future__ import annotations

import importlib
import os

from detectron2.config import CfgNode

from ..errors import UserError

VARIABLE = "METAALIGN_PLUGINS"


def plugin_names() -> list[str]:
    """The modules that the environment names, in its order."""
    return os.environ.get(VARIABLE, "").replace(",", " ").split()


def add_plugins(cfg: CfgNode) -> None:
    """Import the plug-ins, and let those with an ``add_config(cfg)`` add their keys to ``cfg``.

    Raises:
        UserError: there is no such module, or its name cannot be one.
    """
    for name in plugin_names():
        if not all(part.isidentifier() for part in name.split(".")):
            raise UserError(f"{VARIABLE}: {name!r} is no module as Python imports it, such as a.b")
        try:
            plugin = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # One that is there and imports another that is not says so itself.
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                raise
            raise UserError(
                f"{VARIABLE}: there is no module {name!r}; install it, or put its folder on "
                "PYTHONPATH"
            ) from error
        if hasattr(plugin, "add_config"):
            plugin.add_config(cfg)
