"""Which Detectron2 is installed, and how its wheel is unpacked; nothing is downloaded."""

from __future__ import annotations

import importlib
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def detectron2(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script; it imports its neighbour from its own folder, as when it is run."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("install_detectron2")


def make_wheel(path: Path, files: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with the traps of the real one: stray `tools`, metadata, a compiled module."""
    files = {
        "detectron2/__init__.py": "new = True\n",
        "detectron2/layers/__init__.py": "",
        "detectron2/_C.cpython-310-x86_64-linux-gnu.so": "binary",
        "tools/__init__.py": "",
        "sal_detectron2-0.7.2.dist-info/METADATA": "Requires-Dist: numpy<2\n",
    }
    return make_wheel(tmp_path / "sal_detectron2-0.7.2-cp310-none-any.whl", files)


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


def never_asked() -> str | None:
    raise AssertionError("the network was asked although the answer could not matter")


# --- which route


@pytest.mark.parametrize("choice", ["auto", "upstream", "wheel"])
def test_an_importable_detectron2_is_used_as_it_is(detectron2, choice):
    assert detectron2.choose_routes(choice, "/x/detectron2/__init__.py", never_asked) == [
        "existing"
    ]


def test_auto_tries_upstream_first_and_then_the_wheel(detectron2):
    assert detectron2.choose_routes("auto", None, lambda: None) == ["upstream", "wheel"]


def test_auto_in_a_closed_network_goes_straight_to_the_wheel(detectron2):
    assert detectron2.choose_routes("auto", None, lambda: "no answer") == ["wheel"]


def test_the_wheel_is_chosen_without_asking_the_network(detectron2):
    assert detectron2.choose_routes("wheel", None, never_asked) == ["wheel"]


def test_upstream_asked_for_and_impossible_says_why_and_names_the_wheel(detectron2):
    with pytest.raises(detectron2.SetupError, match="git is missing.*METAALIGN_DETECTRON2=wheel"):
        detectron2.choose_routes("upstream", None, lambda: "git is missing")


def test_unknown_choice_is_refused_with_the_legal_ones(detectron2):
    with pytest.raises(detectron2.SetupError, match="=pip is not one of auto, upstream, wheel"):
        detectron2.requested_choice({"METAALIGN_DETECTRON2": "pip"})


def test_an_empty_choice_is_auto(detectron2):
    assert detectron2.requested_choice({"METAALIGN_DETECTRON2": ""}) == "auto"


def test_missing_compiler_is_found_before_the_network_is_asked(detectron2, monkeypatch):
    monkeypatch.setattr(
        detectron2.shutil, "which", lambda name: "/bin/git" if name == "git" else None
    )
    monkeypatch.setattr(detectron2.subprocess, "run", lambda *a, **k: never_asked())
    assert "build-essential" in detectron2.find_upstream_problem()


def test_git_host_that_does_not_answer_is_a_problem_not_an_exception(detectron2, monkeypatch):
    def hang(command, *, timeout, **_):
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(detectron2.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(detectron2.Path, "is_file", lambda self: True)  # Python.h
    monkeypatch.setattr(detectron2.subprocess, "run", hang)
    assert "does not answer" in detectron2.find_upstream_problem()


def test_upstream_that_does_not_build_falls_back_to_the_wheel(detectron2, monkeypatch):
    def broken() -> None:
        raise detectron2.SetupError("gcc said no.")

    unpacked: list[Path] = []
    monkeypatch.delenv("METAALIGN_DETECTRON2", raising=False)
    monkeypatch.setattr(detectron2, "find_existing", lambda: None)
    monkeypatch.setattr(detectron2, "find_upstream_problem", lambda: None)
    monkeypatch.setattr(detectron2, "install_upstream", broken)
    monkeypatch.setattr(detectron2, "install_wheel", unpacked.append)
    assert detectron2.install() == "wheel"
    assert len(unpacked) == 1


# --- what is there already


def test_a_folder_without_code_is_no_detectron2(detectron2, tmp_path, monkeypatch):
    (tmp_path / "detectron2").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert detectron2.find_existing(_bare_python(tmp_path)) is None


def test_detectron2_that_fails_to_import_is_reported_not_replaced(
    detectron2, tmp_path, monkeypatch
):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text(
        "raise ImportError('libcudart.so.13: cannot open shared object file: No such file')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(detectron2.SetupError, match="libcudart.so.13 is missing"):
        detectron2.find_existing(sys.executable)


def _bare_python(folder: Path) -> str:
    """This interpreter without its site-packages, in which a detectron2 may well be installed."""
    script = folder / "python"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    script.chmod(0o755)
    return str(script)


# --- the wheel


def test_only_the_package_is_unpacked(detectron2, wheel, site_packages):
    detectron2.unpack_package(wheel, site_packages)
    files = {str(path.relative_to(site_packages)) for path in site_packages.rglob("*.*")}
    assert files == {"detectron2/__init__.py", "detectron2/layers/__init__.py"}


def test_a_leftover_folder_is_replaced_as_a_whole(detectron2, wheel, site_packages):
    (site_packages / "detectron2").mkdir()
    (site_packages / "detectron2" / "stale.py").write_text("")
    detectron2.unpack_package(wheel, site_packages)
    assert not (site_packages / "detectron2" / "stale.py").exists()
    assert (site_packages / "detectron2" / "__init__.py").read_text() == "new = True\n"


def test_an_unpacking_that_fails_leaves_nothing(detectron2, wheel, site_packages, monkeypatch):
    def full_disk(self, path, members):
        Path(path, "detectron2").mkdir()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full_disk)
    with pytest.raises(OSError, match="No space left"):
        detectron2.unpack_package(wheel, site_packages)
    assert list(site_packages.iterdir()) == []


def test_a_wheel_of_something_else_is_refused(detectron2, tmp_path, site_packages):
    other = make_wheel(tmp_path / "other.whl", {"other/__init__.py": ""})
    with pytest.raises(detectron2.SetupError, match="other.whl holds no detectron2"):
        detectron2.unpack_package(other, site_packages)


def test_a_wheel_with_another_hash_is_refused_before_unpacking(
    detectron2, wheel, site_packages, monkeypatch
):
    def download(arguments, *, doing):
        folder = Path(arguments[arguments.index("-d") + 1])
        (folder / wheel.name).write_bytes(wheel.read_bytes())

    monkeypatch.setattr(detectron2, "_pip", download)
    with pytest.raises(detectron2.SetupError, match="is not the pinned wheel"):
        detectron2.install_wheel(site_packages)
    assert list(site_packages.iterdir()) == []


def test_pip_itself_checks_the_hash_of_the_download(detectron2, site_packages, monkeypatch):
    commands: list[list[str]] = []

    def record(arguments, *, doing):
        commands.append(arguments)
        raise detectron2.SetupError("recorded")

    monkeypatch.setattr(detectron2, "_pip", record)
    with pytest.raises(detectron2.SetupError, match="recorded"):
        detectron2.install_wheel(site_packages)
    assert {"--require-hashes", "--no-deps", "--only-binary=:all:"} <= set(commands[0])


def test_the_pins_are_what_was_measured(detectron2):
    assert detectron2.pinned_wheel() == (
        "sal-detectron2==0.7.2",
        "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561",
    )
    assert detectron2.upstream_url().endswith("facebookresearch/detectron2.git")


def test_a_pin_without_hash_is_refused(detectron2, tmp_path):
    pin = tmp_path / "detectron2-wheel.txt"
    pin.write_text("sal-detectron2==0.7.2\n")
    with pytest.raises(detectron2.SetupError, match="--hash=sha256"):
        detectron2.pinned_wheel(pin)
