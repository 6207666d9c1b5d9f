"""Every configuration key this package adds to Detectron2's defaults.

Everything here is off by default: a config that sets none of these keys trains exactly as it
would under stock Detectron2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode as CN
from detectron2.config import get_cfg

from ..config_files import (
    CONFIG_ROOT,
    dotted_keys,
    find_config,
    meant_or_plugged_in,
    read_config,
)
from ..errors import UserError
from . import adaptation, data, models, running
from .plugins import add_plugins

__all__ = ["CONFIG_ROOT", "add_metaalign_config", "load_cfg", "merge_opts"]


def load_cfg(config_file: str | Path = "", opts: Sequence[str] = ()) -> CN:
    """The defaults, a YAML file on top of them, and ``KEY VALUE`` pairs on top of that.

    Args:
        config_file: a path, or the name of one of this package's configs
            (``voc2watercolor_swda_meta.yaml``, with or without ``configs/``); "" = none.
        opts: ``KEY VALUE`` pairs.

    Raises:
        UserError: the file does not exist or cannot be read, a key does not exist, or a value is
            of the wrong kind.
    """
    cfg = get_cfg()
    add_metaalign_config(cfg)
    where = "config"
    if config_file:
        path = find_config(config_file)
        where = f"config {path}"
        _merge_file(cfg, path, where)
    merge_opts(cfg, opts, where)
    return cfg


def merge_opts(cfg: CN, opts: Sequence[str], where: str) -> None:
    """Put ``KEY VALUE`` pairs on top of a config, in place; ``where`` names it in errors.

    Raises:
        UserError: a key does not exist, a value is of the wrong kind or missing.
    """
    if not opts:
        return
    shown = " ".join(map(str, opts))
    where = f"{where} with {shown if len(shown) < 1000 else shown[:1000] + '...'}"
    _check_keys(opts[::2], cfg, where)
    known = dict(dotted_keys(cfg))
    pairs = zip(opts[::2], opts[1::2], strict=False)
    given = [x for key, value in pairs for x in (key, _whole_as_float(value, known[key]))]
    try:
        cfg.merge_from_list([*given, *opts[len(given) :]])
    # The last three: Python's own reader of values, given what is nested too deep or too long.
    except (KeyError, ValueError, AssertionError, TypeError, RecursionError, MemoryError) as error:
        raise UserError(f"{where}: {str(error)[:1000] or 'a value cannot be read'}") from error


def _merge_file(cfg: CN, path: Path, where: str) -> None:
    loaded = read_config(path)
    version = loaded.setdefault("VERSION", cfg.VERSION)
    if version != cfg.VERSION:
        raise UserError(
            f"{where}: VERSION {version} is not {cfg.VERSION}, this Detectron2's: convert the file "
            "with detectron2.config.upgrade_config"
        )
    _check_keys(_given_keys(loaded, cfg), cfg, where)
    try:
        cfg.merge_from_other_cfg(CN(_whole_as_float(loaded, cfg)))
    except (KeyError, ValueError, AssertionError) as error:
        raise UserError(f"{where}: {error!s:.1000}") from error


def _given_keys(loaded: Mapping, node: CN, prefix: str = "") -> Iterator[str]:
    """Dotted keys that a file gives values to; an unknown one without what is in it."""
    for key, value in loaded.items():
        known = node.get(key)
        if isinstance(value, Mapping) and isinstance(known, CN):
            yield from _given_keys(value, known, f"{prefix}{key}.")
        elif key in node or not node.is_new_allowed():
            yield f"{prefix}{key}"


def _whole_as_float(value: Any, known: Any) -> Any:
    """Whole numbers as floats where the default is a float: yacs refuses an int there."""
    if isinstance(value, Mapping) and isinstance(known, Mapping):
        return {k: _whole_as_float(v, known.get(k)) for k, v in value.items()}
    if type(known) is not float or not isinstance(value, int | str):
        return value
    # Up to 15 digits a float is exact.
    return float(value) if re.fullmatch(r"[+-]?[0-9]{1,15}", str(value)) else value


def _check_keys(keys: Iterable[str], cfg: CN, where: str) -> None:
    known = dict(dotted_keys(cfg))
    for key in keys:
        if key not in known:
            raise UserError(
                f"{where}: there is no key {key!s:.200}{meant_or_plugged_in(key, known)}"
            )
        if isinstance(known[key], CN):
            inside = ", ".join(f"{key}.{name}" for name in list(known[key])[:3])
            raise UserError(f"{where}: {key} takes no value, it holds keys ({inside}, ...)")


def add_metaalign_config(cfg: CN) -> None:
    """Add the keys of ``metaalign_det``, and of the user's plug-ins, to ``cfg`` in place.

    Args:
        cfg: usually ``detectron2.config.get_cfg()``.

    Raises:
        UserError: ``METAALIGN_PLUGINS`` names a module that does not exist.
    """
    data.add_data(cfg)
    data.add_class_list(cfg)
    data.add_loader(cfg)
    models.add_backbones(cfg)
    models.add_detection_alignment(cfg)
    models.add_classification(cfg)
    adaptation.add_adaptation(cfg)
    adaptation.add_lookahead(cfg)
    running.add_solver(cfg)
    running.add_checkpoints(cfg)
    running.add_test(cfg)
    running.add_selection(cfg)
    running.add_logging(cfg)
    add_plugins(cfg)
