"""Text files of data sets: UTF-8, plain, of bearable size, or an error that says what is wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml

from ...config_files import refuse_repeated_keys
from ...errors import UserError
from .paths import require_file, show

#: Largest annotation of one image, list or YAML file that is read, in bytes.
MAX_TEXT_BYTES = 64 * 2**20
#: Largest JSON that is read, in bytes; COCO's own are below 0.5 GB.
MAX_JSON_BYTES = 4 * 2**30


def read_bytes(path: Path, what: str, remedy: str = "", limit: int = MAX_TEXT_BYTES) -> bytes:
    """Content of a plain file.

    Args:
        path: the file.
        what: names it in messages, for example "annotation".
        remedy: end of the message where the file does not exist.
        limit: largest size in bytes.

    Raises:
        UserError: missing, not a plain file, unreadable or too large.
    """
    size = require_file(path, what, remedy).st_size
    if size > limit:
        raise UserError(f"{what} {path} has {size} bytes; more than {limit} are not read")
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{what} {path} cannot be read: {error.strerror}") from error


def read_text(path: Path, what: str, remedy: str = "", limit: int = MAX_TEXT_BYTES) -> str:
    """The same as text; a byte order mark is dropped.

    Raises:
        UserError: as :func:`read_bytes`; bytes that are not UTF-8 (with the line).
    """
    data = read_bytes(path, what, remedy, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{what} {path}, line {line}: byte {data[error.start]:#04x} is not UTF-8; save the "
            "file with that encoding"
        ) from error


def read_lines(path: Path, what: str, remedy: str = "") -> list[tuple[int, str]]:
    """Lines that are not empty, stripped, each with its number from 1.

    They may end as on any system, in ``\\n``, ``\\r\\n`` or ``\\r`` alone.

    Raises:
        UserError: as :func:`read_text`.
    """
    lines = enumerate(re.split("\r\n|\n|\r", read_text(path, what, remedy)), start=1)
    return [(number, text) for number, line in lines if (text := line.strip())]


def read_json(path: Path, what: str, remedy: str = "") -> Any:
    """Parse a JSON file; ``NaN`` and ``Infinity``, which are not JSON, are refused.

    Raises:
        UserError: as :func:`read_text`; no JSON, nested too deeply, numbers of thousands of digits.
    """
    text = read_text(path, what, remedy, MAX_JSON_BYTES)
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise UserError(f"{what} {path}: the JSON is nested too deeply to be data") from error
    except ValueError as error:  # json's own, and integers of more than 4,300 digits
        raise UserError(f"{what} {path} is not valid JSON: {error}") from error


class _TextLoader(yaml.BaseLoader):
    """YAML in which every scalar stays text, and no mapping has a key twice.

    Not of the C parser, as :class:`.UniqueKeyLoader` is: on deep nesting it ends the process.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        refuse_repeated_keys(node)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path, what: str, remedy: str = "") -> Any:
    """Parse a YAML file into mappings, lists and strings.

    Every scalar stays the text it is: a class called ``no`` or ``2024`` is a name, and nothing in
    the file is converted, constructed or run.

    Raises:
        UserError: as :func:`read_text`; no YAML, nested too deeply, a key twice in one mapping.
    """
    text = read_text(path, what, remedy)
    try:
        # Not safe_load: its conversions fail in ways of their own (!!int '', 2024-99-99).
        return yaml.load(text, Loader=_TextLoader)
    except RecursionError as error:
        raise UserError(f"{what} {path}: the YAML is nested too deeply to be data") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{what} {path} is not valid YAML: {' '.join(str(error).split())}") from (
            error
        )


def number(text: object, where: str, what: str) -> float:
    """A finite number from a field of a text file or JSON.

    Raises:
        UserError: it is none; names ``where`` and ``what``.
    """
    try:
        if isinstance(text, bool):
            raise ValueError
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not -1e12 < value < 1e12:  # also false for NaN; no image is as large
        raise UserError(f"{where}: {what} must be a finite number, not {show(text)}")
    return value


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")
