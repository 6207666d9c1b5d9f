"""Files of weights, read without running anything that is in them, and checked for damage.

A pickle is a program. The three formats that weights come in are therefore read by what cannot
call anything:

========================= ====================================================================
``.pth .pt .pyth``        ``torch.load(weights_only=True)``, said explicitly
``.pkl``                  :class:`ArrayUnpickler`: containers and plain numpy arrays, nothing else
``.safetensors``          a table of tensors by design
========================= ====================================================================

Checksums: :mod:`.checksums`.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..errors import UserError
from ..files import replaced_file
from .checksums import (
    CHECKSUM,
    PLACEHOLDER,
    check_archive,
    check_safetensors,
    checksum_of_safetensors,
    is_sealed_when_whole,
)

#: What a file of weights may be called.
SUFFIXES = (".pth", ".pt", ".pyth", ".pkl", ".safetensors")

_NUMBER = re.compile(r"(b1|i[1248]|u[1248]|f[248]|c8|c16)")  # numpy's codes of plain numbers


def read_weight_file(path: str | Path) -> dict[str, Any]:
    """What a file of weights holds; nothing in it is executed, whatever the environment says.

    Args:
        path: a file with one of :data:`SUFFIXES`.

    Returns:
        dict: the file's content as it was saved: a state dict, or a checkpoint with the state
        dict under "model". Of a ``.safetensors`` {"model": tensors by name, "metaalign": what
        :func:`write_safetensors` was told, if anything}.

    Raises:
        UserError: there is no such file, it is damaged or cut short, holds anything but data, or
            is of another kind. One sentence, with the file's name.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}")
    try:
        if path.suffix == ".pkl":
            with path.open("rb") as file:
                content = ArrayUnpickler(file).load_arrays()
        elif path.suffix == ".safetensors":
            content = _read_safetensors(path)
        elif path.suffix in SUFFIXES:
            content = _read_torch(path)
        else:
            raise UserError(f"{path} is no file of weights: its name must end in one of {SUFFIXES}")
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path} does not fit into memory, or is damaged") from error
    # A damaged file makes every reader fail in ways of its own (more than twenty were counted).
    except Exception as error:
        raise UserError(f"{path} cannot be read: {_why(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds a {type(content).__name__}, not weights by name")
    return content


def peek(path: str | Path, key: str) -> Any:
    """One entry of a ``.pth`` that ``torch.save`` wrote, without reading its tensors.

    None where there is none or the file cannot be read: :func:`read_weight_file` says why.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception:  # noqa: BLE001  (as above; whoever reads the file is told)
        return None
    return content.get(key) if isinstance(content, dict) else None


def weights_in(content: dict[str, Any], path: str | Path) -> dict[str, Tensor]:
    """The state dict of a file's content: under "model" or "state_dict", or the content itself.

    Args:
        content: of :func:`read_weight_file`.
        path: for the message.

    Returns:
        dict: name -> tensor, without the prefix "module." of wrapped models.

    Raises:
        UserError: it holds something else.
    """
    state: Any = content
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    wrong = [k for k, v in state.items() if not isinstance(v, Tensor | np.ndarray)]
    if wrong or not state:
        found = f"{wrong[0]!r} is a {type(state[wrong[0]]).__name__}" if wrong else "it is empty"
        raise UserError(f"{path} does not hold weights by name: {found}")
    weights = OrderedDict(
        (str(k).removeprefix("module."), v if isinstance(v, Tensor) else torch.from_numpy(v))
        for k, v in state.items()
    )
    if hasattr(state, "_metadata"):  # versions of the modules: what old weights are upgraded by
        weights._metadata = state._metadata  # type: ignore[attr-defined]
    return weights


def write_safetensors(model: nn.Module, path: str | Path, about: dict[str, Any]) -> None:
    """:func:`write_tensors` of a model's parameters and buffers."""
    write_tensors(model.state_dict(), path, about)


def write_tensors(weights: Mapping[str, Tensor], path: str | Path, about: dict[str, Any]) -> None:
    """Write weights, and what is to be known of them, in the safetensors format.

    Args:
        weights: tensors by name.
        path: a ``.safetensors`` to write, whole or not at all.
        about: plain data, kept as JSON in the file's header under "metaalign".

    Raises:
        OSError: the file cannot be written.
    """
    # One copy each: the format refuses tensors that share memory or are not in row order.
    tensors = {
        name: value.detach().to("cpu", copy=True).contiguous() for name, value in weights.items()
    }
    metadata = {"format": "pt", "metaalign": json.dumps(about), CHECKSUM: PLACEHOLDER}
    data = safetensors.torch.save(tensors, metadata)
    place, checksum = checksum_of_safetensors(data)
    with replaced_file(path) as file:
        file.write(data)
        file.seek(place)
        file.write(checksum.encode())


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
    check_safetensors(path, metadata)
    content: dict[str, Any] = {"model": safetensors.torch.load_file(path)}
    if "metaalign" in metadata:
        content["metaalign"] = json.loads(metadata["metaalign"])
    return content


def _read_torch(path: Path) -> Any:
    if path.stat().st_size == 0:
        raise UserError(f"{path} is empty")
    sealed = zipfile.is_zipfile(path) and check_archive(path)
    with warnings.catch_warnings():  # old formats warn before they are refused
        warnings.simplefilter("ignore")
        content = torch.load(path, map_location="cpu", weights_only=True)
    if not sealed and is_sealed_when_whole(content):
        raise UserError(
            f"{path} cannot be read: the checksum that this package writes is missing; the file is "
            'damaged, or another program wrote it anew (without its entry "metaalign" it would be '
            "read as weights)"
        )
    return content


def _why(error: Exception) -> str:
    """The first line of an error that was written for programmers, cut to what helps a user."""
    text = str(error).strip()
    if "Unsupported global" in text or text.startswith("unsafe"):
        return "it holds more than weights, which is not loaded because it could run anything"
    if isinstance(error, zipfile.BadZipFile) and "CRC" in text:
        return "it is damaged (a checksum does not match)"
    if "TorchScript" in text:
        return "it is a TorchScript program, not weights"
    # Of torch: pages on what it would take, or on its own internals.
    if isinstance(error, pickle.UnpicklingError) or "PytorchStreamReader" in text:
        return "it is damaged, or no checkpoint at all"
    line = text.splitlines()[0][:200] if text else ""
    return f"it is damaged or of another kind ({type(error).__name__}{': ' if line else ''}{line})"


# ---- pickles ---------------------------------------------------------------------------------


class _Inert:
    """What a pickle gets instead of a function or class: it keeps what it is told, and that is all.

    The methods are here so that a pickle that treats the class itself as one of its objects is
    refused: without them it could set attributes of the class.
    """

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = ()

    def __setstate__(self, state: object) -> None:
        self.state = state

    def plain(self) -> Any:
        """The object that the file describes, made by us."""
        raise NotImplementedError


class _DType(_Inert):
    """For ``numpy.dtype("f4", False, True)`` with the state ``(3, "<", ...)``."""

    def plain(self) -> np.dtype:
        code = _text(self.arguments[0])
        order = _text(self.state[1]) if self.state else "="
        if not _NUMBER.fullmatch(code) or order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"unsafe: an array of {code!r}, not of numbers")
        return np.dtype((order if order in "<>" else "=") + code)


class _Array(_Inert):
    """For ``_reconstruct(ndarray, (0,), b"b")``; state: version, shape, dtype, order, bytes."""

    def plain(self) -> np.ndarray:
        _, shape, dtype, fortran, data = self.state
        return _array(dtype, data).reshape(shape, order="F" if fortran else "C")


class _Buffer(_Inert):
    """For ``_frombuffer(bytes, dtype, shape, order)``, protocol 5's arrays."""

    def plain(self) -> np.ndarray:
        data, dtype, shape, order = self.arguments
        fortran = order == "F"
        array: Any = _array(dtype, data)
        return array.reshape(shape, order="F" if fortran else "C")


class _Scalar(_Inert):
    """For ``scalar(dtype, bytes)``."""

    def plain(self) -> np.ndarray:
        return _array(*self.arguments).reshape(())


class _Encoded(_Inert):
    """For ``_codecs.encode(text, "latin1")`` and ``bytes()``: bytes in old protocols."""

    def plain(self) -> bytes:
        text, encoding = self.arguments or ("", "latin1")
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"unsafe: the codec {encoding!r}")
        return _text(text).encode("latin1")


def _text(value: object) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


def _array(dtype: object, data: object) -> np.ndarray:
    """A new array in one dimension, in this machine's byte order."""
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError("an array without a type")
    data = data.plain() if isinstance(data, _Encoded) else data
    raw = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(raw, bytes | bytearray):
        raise pickle.UnpicklingError("unsafe: an array of objects")
    array = np.frombuffer(raw, dtype.plain())
    return array.astype(array.dtype.newbyteorder("="))


# The one in Python, not the one in C: there ten bytes, the number of an object that is never looked
# at again, take as many gigabytes as they say.
class ArrayUnpickler(pickle._Unpickler):
    """Reads pickles of containers, numbers, text and numpy arrays of numbers, and nothing else.

    Whatever name a pickle asks for, it gets one of the inert stand-ins here or an error: no
    function of Python, numpy or another library is called with what the file says.

    Args:
        file: open for binary reading. Text of Python 2 is read as latin-1, as Detectron2 does.
    """

    _ALLOWED = {
        ("builtins", "bytes"): _Encoded,
        ("__builtin__", "bytes"): _Encoded,
        ("numpy._core.numeric", "_frombuffer"): _Buffer,
        ("numpy.core.numeric", "_frombuffer"): _Buffer,
        ("collections", "OrderedDict"): OrderedDict,
        ("_codecs", "encode"): _Encoded,
        ("numpy", "ndarray"): _Inert,
        ("numpy", "dtype"): _DType,
        ("builtins", "set"): set,
        ("builtins", "frozenset"): frozenset,
        ("builtins", "complex"): complex,
        ("__builtin__", "set"): set,
    } | {
        (module, name): stand_in
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _Scalar))
    }

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"unsafe: it asks for {module}.{name}") from None

    def load_arrays(self) -> Any:
        """The pickle's object, with real arrays in it.

        Raises:
            UnpicklingError: it asks for anything else, or holds arrays of anything but numbers.
        """
        return _with_arrays(self.load())


def _with_arrays(value: Any) -> Any:
    if isinstance(value, _Inert):
        return value.plain()
    if isinstance(value, dict):
        return {_with_arrays(k): _with_arrays(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_with_arrays(v) for v in value)
    return value
