"""Whatever file comes from elsewhere, nothing that is in it runs.

Each payload is a file that makes another one, the mark, where it is read carelessly. Here each is
given to what reads such files, and the mark must not be there afterwards. That a payload is refused
in one sentence is tested beside its reader.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch

from metaalign_det.config import load_cfg
from metaalign_det.data.formats.image_headers import read_image_sizes
from metaalign_det.data.formats.text_files import read_yaml
from metaalign_det.data.formats.voc_xml import read_annotation
from metaalign_det.engine.checkpoint import load_weights
from metaalign_det.engine.checkpoint_files import choose_newest
from metaalign_det.engine.durable_checkpointer import DurableCheckpointer
from metaalign_det.errors import UserError
from metaalign_det.explain.predict_checkpoint import find_checkpoint, open_checkpoint
from metaalign_det.explain.runs import RunFolder
from metaalign_det.modeling.checksums import seal_archive
from metaalign_det.modeling.weight_files import peek, read_weight_file
from metaalign_det.reports.run_report.run_files import find_runs
from metaalign_det.sweeps.label_free import _read_predictions
from tests.engine.small import save, small_cfg, small_run
from tests.modeling.payloads import Calls, pickle_payloads, torch_payloads

Read = Callable[[Path], object]


def read_as_weights(path: Path) -> None:
    for read in (read_weight_file, lambda p: peek(p, "model"), _load_weights, _explain):
        with suppress(UserError):
            read(path)


def _load_weights(path: Path) -> None:
    load_weights(DurableCheckpointer(torch.nn.Linear(1, 1), save_to_disk=False), str(path))


def _explain(path: Path) -> None:
    """As `metaalign-det explain` reads a run's checkpoint, by the name it is given."""
    run = RunFolder("x", path.parent, small_cfg(path.parent))
    DurableCheckpointer(torch.nn.Linear(1, 1), save_to_disk=False).load(
        str(run.checkpoint(path.name))
    )


YAMLS = {
    "apply": "!!python/object/apply:os.system ['touch {mark}']",
    "new": "!!python/object/new:os.system ['touch {mark}']",
    "exec": "!!python/object/apply:exec [\"open('{mark}', 'w')\"]",
    "name": "!!python/name:os.system",
    "module": "!!python/module:antigravity",
    "object": "!!python/object:subprocess.Popen {{args: [touch, '{mark}']}}",
    "eval": "_BASE_: !!python/object/apply:eval [\"open('{mark}', 'w')\"]",
    "lazy": "_target_: os.system\nargs: ['touch {mark}']",
}


def read_as_config(path: Path) -> None:
    for read in (load_cfg, lambda p: find_runs([p.parent]), lambda p: read_yaml(p, "x")):
        with suppress(UserError):
            read(path)


def read_in_checkpoint(path: Path) -> None:
    """The same text, as the config that a checkpoint brings along."""
    run = small_run(path.parent, steps=1)
    run._about["config"] = path.read_text()
    save(run)
    for read in (open_checkpoint, lambda p: run.resume()):
        with suppress(UserError):
            read(path.parent / "model_0000000.pth")


def _npz(mark: Path) -> bytes:
    array = np.empty(1, dtype=object)
    array[0] = Calls(os.system, f"touch {mark}")
    stream = io.BytesIO()
    np.savez(stream, last=array)
    return stream.getvalue()


def _postscript(mark: Path) -> bytes:
    """Pillow hands such a picture to Ghostscript, another program with a language of its own."""
    return (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
        b"(" + str(mark).encode() + b") (w) file closefile\n%%EOF\n"
    )


def _entity(mark: Path) -> bytes:
    secret = mark.with_name("secret")
    secret.write_text("<object><name>cat</name></object>")
    return (
        f'<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]><annotation>&x;</annotation>'
    ).encode()


def _in_a_folder(path: Path) -> None:
    """last_checkpoint names a file elsewhere, which is a payload."""
    for read in (choose_newest, find_checkpoint):
        with suppress(UserError):
            found = read(path.parent)
            assert Path(found).parent == path.parent


def payloads(mark: Path) -> dict[str, tuple[str, bytes, Read]]:
    """Name -> file name, content and what reads it."""
    found: dict[str, tuple[str, bytes, Read]] = {}
    for name, content in pickle_payloads(mark).items():
        found[f"pkl, {name}"] = (f"{name}.pkl", content, read_as_weights)
    for name, content in torch_payloads(mark).items():
        found[f"pth, {name}"] = (f"{name}.pth", content, read_as_weights)
    for name, text in YAMLS.items():
        value = text.format(mark=mark).encode()
        config = value if "\n" in text or text.startswith("_") else b"SEED: " + value
        found[f"config, {name}"] = ("config.yaml", config, read_as_config)
        found[f"config in a checkpoint, {name}"] = ("config.yaml", config, read_in_checkpoint)
    elsewhere = mark.parent / "elsewhere.pth"
    elsewhere.write_bytes(torch_payloads(mark)["torch-zip"])
    for name, text in (("absolute", str(elsewhere)), ("relative", f"../{elsewhere.name}")):
        found[f"last_checkpoint, {name}"] = ("last_checkpoint", text.encode(), _in_a_folder)
    found["predictions"] = ("p.npz", _npz(mark), _read_predictions)
    found["picture"] = ("p.jpg", _postscript(mark), lambda path: read_image_sizes([path]))
    found["annotation"] = ("a.xml", _entity(mark), read_annotation)
    return found


@pytest.mark.parametrize("forced", ["", "1"], ids=["", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"])
def test_no_payload_runs(tmp_path, monkeypatch, forced):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", forced)
    mark = tmp_path / "ran"
    tried = payloads(mark)
    for number, (name, (file, content, read)) in enumerate(tried.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / file).write_bytes(content)
        with suppress(UserError):
            read(folder / file)
        assert not mark.exists(), f"{name} ran"
    assert len(tried) >= 20


def test_a_sealed_checkpoint_is_trusted_no_more_than_any_other(tmp_path):
    """The seal finds damage; whoever can write a file can seal it."""
    mark = tmp_path / "ran"
    path = tmp_path / "model_0000001.pth"
    path.write_bytes(torch_payloads(mark)["torch-zip"])
    seal_archive(path)
    with pytest.raises(UserError, match="no checkpoint in"):
        choose_newest(tmp_path)
    assert not mark.exists()


def test_the_payloads_run_where_they_are_read_carelessly(tmp_path):
    mark = tmp_path / "ran"
    tried = payloads(mark)
    yaml = pytest.importorskip("yaml")
    careless = {
        "predictions": lambda p: np.load(p, allow_pickle=True)["last"],
        "config, apply": lambda p: yaml.unsafe_load(p.read_text()),
        "config, exec": lambda p: yaml.unsafe_load(p.read_text()),
        "pkl, os-system": lambda p: pickle.loads(p.read_bytes()),
        "pth, torch-legacy": lambda p: torch.load(p, weights_only=False),
    }
    for name, read in careless.items():
        file, content, _ = tried[name]
        (tmp_path / file).write_bytes(content)
        read(tmp_path / file)
        assert mark.exists(), name
        mark.unlink()
