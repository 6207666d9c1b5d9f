"""Files of weights that run something when they are read carelessly: each would make a file."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch


class Calls:
    """Pickles as a call of ``function(*arguments)``."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def _command(mark: Path) -> str:
    return f"touch {mark}"


def _opcodes(mark: Path) -> dict[str, bytes]:
    """Pickles by hand: each of the opcodes that lead to a call, for ``os.system``."""
    command = _command(mark).encode()
    short = bytes([len(command)]) + command
    return {
        "global-reduce": b"cos\nsystem\n(X" + _length(command) + command + b"tR.",
        "stack-global": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c" + short + b"\x85R.",
        "inst": b"(S'" + command + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nX" + _length(command) + command + b"o.",
        "newobj": b"\x80\x02cos\nsystem\nX" + _length(command) + command + b"\x85\x81.",
        "dotted-name": b"\x80\x04\x8c\x09posixpath\x8c\x09os.system\x93\x8c" + short + b"\x85R.",
        # Sets an attribute of what an allowed name stands for: later files must not feel it.
        "build-on-a-class": b"\x80\x02cnumpy\ndtype\n}}X\x05\x00\x00\x00plainNs\x86b.",
    }


def _length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "little")


def _object_array(mark: Path) -> np.ndarray:
    array = np.empty(1, dtype=object)
    array[0] = Calls(os.system, _command(mark))
    return array


def pickle_payloads(mark: Path) -> dict[str, bytes]:
    """Name -> content of a ``.pkl``."""
    command = _command(mark)
    calls = {
        "os-system": Calls(os.system, command),
        "eval": Calls(eval, f"__import__('os').system({command!r})"),
        "exec": Calls(exec, f"open({str(mark)!r}, 'w')"),
        "getattr": Calls(getattr, Calls(open, str(mark), "w"), "name"),
        "open": Calls(open, str(mark), "w"),
        "numpy-load": Calls(np.memmap, str(mark), "uint8", "w+", 0, (4,)),
        "codec": Calls(__import__("_codecs").encode, "x", "rot13"),
        "ordered-dict": OrderedDict(a=Calls(os.system, command)),
        "object-array": _object_array(mark),
        "in-a-detectron2-file": {
            "model": {"w": np.zeros(2, np.float32), "x": Calls(os.system, command)},
            "__author__": "me",
        },
        "persistent": None,
    }
    files = {name: pickle.dumps(obj, 2) for name, obj in calls.items() if obj is not None}
    files["persistent"] = b"Pos.system\n."
    return files | _opcodes(mark)


def torch_payloads(mark: Path) -> dict[str, bytes]:
    """Name -> content of a ``.pth``."""
    model = {"w": torch.zeros(2), "x": Calls(os.system, _command(mark))}
    files = {}
    for name, kind in (("zip", True), ("legacy", False)):
        buffer = io.BytesIO()
        torch.save({"model": model}, buffer, _use_new_zipfile_serialization=kind)
        files[f"torch-{name}"] = buffer.getvalue()
    files["bare-pickle"] = pickle.dumps(model)
    files["torch-script"] = _torch_script()
    files["tar"] = _tar(mark)
    files["zip-of-nothing"] = _zip({"archive/data.pkl": pickle.dumps(model)})
    files["zip-without-a-version"] = _zip({"data.pkl": pickle.dumps(model)})
    files["whole-module"] = _saved(torch.nn.Linear(2, 2))
    return files


def _saved(obj: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(obj, buffer)
    return buffer.getvalue()


def _torch_script() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and still what people send
        torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), buffer)
    return buffer.getvalue()


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _tar(mark: Path) -> bytes:
    """torch's format of before 0.4, with pickles inside a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("storages", "tensors", "pickle"):
            content = pickle.dumps(Calls(os.system, _command(mark)), 2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
