"""Which Detectron2 is installed, and how its wheel is unpacked; nothing is downloaded."""

from __future__ import annotations

import hashlib
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
    """The script, loaded from its own folder as when it is run."""
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
    info = "sal_detectron2-0.7.2.dist-info"
    files = {
        "detectron2/__init__.py": "new = True\n",
        "detectron2/layers/__init__.py": "",
        "detectron2/_C.cpython-310-x86_64-linux-gnu.so": "binary",
        "tools/__init__.py": "",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: sal-detectron2\nVersion: 0.7.2\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: cp310-none-any\n",
        f"{info}/RECORD": "",
    }
    (tmp_path / "index").mkdir()
    return make_wheel(tmp_path / "index" / "sal_detectron2-0.7.2-cp310-none-any.whl", files)


@pytest.fixture
def site_packages(tmp_path: Path) -> Path:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    return folder


# --- which route


@pytest.fixture
def routes(detectron2, monkeypatch) -> list[str]:
    """What install() does, in order; nothing of it is done."""
    done: list[str] = []

    def problem() -> str | None:
        done.append("network")
        return None

    monkeypatch.setattr(detectron2, "find_existing", lambda: None)
    monkeypatch.setattr(detectron2, "find_upstream_problem", problem)
    monkeypatch.setattr(detectron2, "install_upstream", lambda: done.append("upstream"))
    monkeypatch.setattr(detectron2, "install_wheel", lambda folder: done.append("wheel"))
    return done


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", ["network", "upstream"]),
        ("upstream", ["network", "upstream"]),
        ("wheel", ["wheel"]),  # the network is not asked
    ],
)
def test_the_choice_decides(detectron2, routes, choice, expected):
    detectron2.install(choice)
    assert routes == expected


@pytest.mark.parametrize("choice", ["auto", "upstream", "wheel"])
def test_an_importable_detectron2_is_used_as_it_is(detectron2, routes, choice, monkeypatch, capsys):
    monkeypatch.setattr(detectron2, "find_existing", lambda: "/x/detectron2/__init__.py")
    detectron2.install(choice)
    assert routes == []
    assert "/x/detectron2" in capsys.readouterr().out


def test_auto_in_a_closed_network_takes_the_wheel(detectron2, routes, monkeypatch):
    monkeypatch.setattr(detectron2, "find_upstream_problem", lambda: "no answer")
    detectron2.install("auto")
    assert routes == ["wheel"]


def test_upstream_that_does_not_build_is_followed_by_the_wheel_unless_asked_for(
    detectron2, routes, monkeypatch
):
    def broken() -> None:
        raise detectron2.SetupError("gcc said no")

    monkeypatch.setattr(detectron2, "install_upstream", broken)
    detectron2.install("auto")
    assert routes == ["network", "wheel"]
    with pytest.raises(detectron2.SetupError, match="gcc said no"):
        detectron2.install("upstream")


def test_upstream_asked_for_and_impossible_says_why_and_names_the_wheel(
    detectron2, routes, monkeypatch
):
    monkeypatch.setattr(detectron2, "find_upstream_problem", lambda: "git is missing")
    with pytest.raises(detectron2.SetupError, match="git is missing.*METAALIGN_DETECTRON2=wheel"):
        detectron2.install("upstream")
    assert routes == []


def test_unknown_choice_is_refused_with_the_legal_ones(detectron2, routes):
    with pytest.raises(detectron2.SetupError, match="=pip is not one of auto, upstream, wheel"):
        detectron2.install("pip")


def test_missing_compiler_is_found_before_the_network_is_asked(detectron2, monkeypatch):
    monkeypatch.setattr(
        detectron2.shutil, "which", lambda name: "/bin/git" if name == "git" else None
    )
    monkeypatch.setattr(detectron2.subprocess, "run", lambda *a, **k: pytest.fail("asked"))
    assert "build-essential" in detectron2.find_upstream_problem()


def test_git_host_that_does_not_answer_is_a_problem_not_an_exception(detectron2, monkeypatch):
    def hang(command, *, timeout, **_):
        assert command[3] == "https://github.com/facebookresearch/detectron2.git"
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(detectron2.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(detectron2.Path, "is_file", lambda self: True)  # Python.h
    monkeypatch.setattr(detectron2.subprocess, "run", hang)
    assert "does not answer" in detectron2.find_upstream_problem()


def test_a_mistake_is_one_sentence_and_exit_code_1(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "install_detectron2.py")],
        env={"METAALIGN_DETECTRON2": "pip"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: METAALIGN_DETECTRON2=pip")
    assert len(done.stderr.splitlines()) == 1


# --- what is there already


def test_a_folder_without_code_is_no_detectron2(detectron2, tmp_path, monkeypatch):
    (tmp_path / "detectron2").mkdir()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    python = tmp_path / "python"  # without its site-packages: a detectron2 may well be in there
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    python.chmod(0o755)
    assert detectron2.find_existing(str(python)) is None


def test_detectron2_that_fails_to_import_is_reported_not_replaced(
    detectron2, tmp_path, monkeypatch
):
    (tmp_path / "detectron2").mkdir()
    (tmp_path / "detectron2" / "__init__.py").write_text(
        "raise ImportError('libcudart.so.13: cannot open shared object file')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(detectron2.SetupError, match=r"libcudart.so.13.*; fix or remove it"):
        detectron2.find_existing()


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


def test_pip_holds_the_wheel_against_its_hash(
    detectron2, wheel, site_packages, tmp_path, monkeypatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    with pytest.raises(detectron2.SetupError, match="pip download of Detectron2 failed.*hash"):
        detectron2.install_wheel(site_packages)  # with the real pin
    assert list(site_packages.iterdir()) == []
    pin = tmp_path / "pin.txt"
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pin.write_text(f"sal-detectron2==0.7.2 --hash=sha256:{sha256}\n")
    detectron2.install_wheel(site_packages, pin)
    assert [path.name for path in site_packages.iterdir()] == ["detectron2"]


def test_the_pin_is_what_was_measured():
    pin = (ROOT / "requirements" / "detectron2-wheel.txt").read_text()
    sha256 = "491af0c7f79bdb2d178e46f6cb16a97c4ac968d45c41ea3f6b6435d59bbee561"
    assert f"\nsal-detectron2==0.7.2 --hash=sha256:{sha256}\n" in pin
