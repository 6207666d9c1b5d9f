"""Config files: where they are, what they stand on, and which names were meant.

YAML is read as plain data: a file from elsewhere can name no Python object to build.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from .errors import UserError

#: The configs of this package: inside it where it is installed, beside it in a clone.
CONFIG_ROOT = next(
    (
        folder
        for folder in (Path(__file__).parent / "configs", Path(__file__).parents[1] / "configs")
        if folder.is_dir()
    ),
    Path(__file__).parent / "configs",
)

_MOST_VALUES = 100_000  # in one file; a config has some hundreds
_DEEPEST = 100  # levels; a config has five


# Plain data only; the C parser, where PyYAML has it, takes a tenth of the time.
class UniqueKeyLoader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Refuses a key that stands twice in one mapping, of which YAML readers keep the last.

    What it raises is a ``yaml.constructor.ConstructorError`` that names the key and both lines.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if id(node) not in self._checked:  # afterwards it has what << brought, too
            self._checked.add(id(node))
            refuse_repeated_keys(node)
        super().flatten_mapping(node)


def refuse_repeated_keys(node: yaml.MappingNode) -> None:
    """Raise ``yaml.constructor.ConstructorError`` where a key stands twice in a mapping."""
    lines: dict[tuple[str, str], int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
            continue
        name, line = (key.tag, key.value), key.start_mark.line + 1
        if name in lines:
            raise yaml.constructor.ConstructorError(
                problem=f"the key {key.value[:100]!r} stands in line {lines[name]} and again in "
                f"line {line}; write all of it in one place"
            )
        lines[name] = line


def find_config(name: str | Path, folder: str | Path = "") -> Path:
    """The file that a command line or a ``_BASE_`` names.

    Args:
        name: ``mini/swda.yaml``, ``configs/mini/swda.yaml``, or any path; ``~`` is expanded.
        folder: what a relative name is relative to before this package's configs are; "" = the
            working directory.

    Raises:
        UserError: there is no such file; names those that are spelled like it.
    """
    path = Path(os.path.expanduser(name))  # leaves "~nobody" as it is
    within = path.relative_to("configs") if path.parts[:1] == ("configs",) else path
    for candidate in (Path(folder) / path, CONFIG_ROOT / within):
        with suppress(OSError):  # a name that is too long, a folder that is closed
            if candidate.is_file():
                return candidate
    known = [str(p.relative_to(CONFIG_ROOT)) for p in CONFIG_ROOT.rglob("*.yaml")]
    with suppress(OSError):
        known += [str(path.parent / p.name) for p in (Path(folder) / path).parent.glob("*.yaml")]
    shown = str(name) if len(str(name)) < 500 else f"{str(name)[:500]}..."
    raise UserError(f"there is no config file {shown!r}{did_you_mean(str(within)[:500], known)}")


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Plain data from YAML; nothing in it is constructed or run.

    Args:
        text: bytes are UTF-8.
        where: what it is, in front of messages.

    Raises:
        UserError: no YAML, a value that Python has none for, or too much of it.
    """
    try:
        _check_depth(text)
        tree = yaml.load(text, Loader=UniqueKeyLoader)
    # PyYAML's conversions fail in ways of their own: 2024-99-99, !!int '', numbers of 5,000 digits.
    except (
        *(yaml.YAMLError, ValueError, LookupError, TypeError, AttributeError, OverflowError),
        RecursionError,
    ) as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where} cannot be read as plain YAML: {what[:1000]}") from error
    # Aliases make a few lines stand for billions, or lead back to themselves.
    waiting, count = [tree], 0
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict | list | tuple | set):
            count += len(value)
            if count > _MOST_VALUES:
                raise UserError(
                    f"{where} cannot be read as plain YAML: it stands for more than "
                    f"{_MOST_VALUES:,} values; write it without aliases (&, *)"
                )
            waiting += value.values() if isinstance(value, dict) else value
    return tree


def _check_depth(text: str | bytes) -> None:
    """Composing deep nesting in C overflows the stack, which ends Python; its events do not."""
    depth = 0
    for event in yaml.parse(text, Loader=UniqueKeyLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError(f"it is nested more than {_DEEPEST} levels deep")


def read_config(path: Path) -> dict[str, Any]:
    """The contents of a YAML file on top of those of its ``_BASE_``, a file name or several.

    Raises:
        UserError: not YAML, not a mapping, a base that is missing or leads back to the file.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    real = path.resolve()
    if real in above:
        raise UserError(f"config {path}: its _BASE_ leads back to itself")
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"config {path} cannot be read: {error.strerror}") from error
    own = parse_yaml(text, f"config {path}") or {}
    if not isinstance(own, dict):
        raise UserError(f"config {path}: a mapping KEY: value is wanted, not {own!r:.60}")
    bases = own.pop("_BASE_", [])
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"config {path}: _BASE_ is a file name or several, not {bases!r:.60}")
    merged: dict[str, Any] = {}
    for base in bases:
        try:
            found = find_config(base, path.parent)
        except UserError as error:
            raise UserError(f"config {path}, _BASE_: {error}") from error
        _merge(merged, _read(found, (*above, real)))
    _merge(merged, own)
    return merged


def _merge(into: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def dotted_keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of nested mappings as ``SOLVER.MAX_ITER``, inner nodes too, with its value."""
    for key, value in node.items():
        yield f"{prefix}{key}", value
        if isinstance(value, Mapping):
            yield from dotted_keys(value, f"{prefix}{key}.")


def did_you_mean(name: str, known: Iterable[str], count: int = 3) -> str:
    """``"; did you mean 'a' or 'b'?"``, or "" where nothing is spelled like ``name``.

    A name that differs by its folder or node alone (``MAX_ITER`` for ``SOLVER.MAX_ITER``) counts
    as near.
    """
    known = list(dict.fromkeys(known))
    plain = {k.lower(): k for k in known}
    near = [plain[k] for k in difflib.get_close_matches(name.lower(), plain, count, cutoff=0.75)]
    last = _last_part(name)
    near += [k for k in known if k not in near and _last_part(k) == last]
    if not near:
        return ""
    return f"; did you mean {' or '.join(map(repr, near[:count]))}?"


def meant_or_plugged_in(name: str, known: Iterable[str]) -> str:
    """:func:`did_you_mean`, and where nothing is near: that a plug-in may be missing."""
    near = did_you_mean(name, known)
    return near or "; if it is a plug-in's, METAALIGN_PLUGINS has to name that module"


def _last_part(name: str) -> str:
    return name.replace("/", ".").removesuffix(".yaml").rpartition(".")[2].lower()
