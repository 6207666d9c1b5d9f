"""The logic of the set-up script: its stamp and its error sentences; nothing is installed."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The scripts import each other from their own folder, as when they are run."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("setup_step")


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("setup_env")


# --- one sentence


@pytest.mark.parametrize(
    ("output", "remedy"),
    [
        (
            "ImportError: libGL.so.1: cannot open shared object file: No such file",
            "apt-get install libgl1 libglib2.0-0",
        ),
        (
            "ImportError: libgthread-2.0.so.0: cannot open shared object file",
            "apt-get install libgl1 libglib2.0-0",
        ),
        ("libgomp.so.1: cannot open shared object file", "libgomp.so.1 is missing"),
        ("error: command 'gcc' failed: No such file or directory", "build-essential"),
        ("error: command '/usr/bin/x86_64-linux-gnu-g++' failed with exit code 1", "compiler"),
        ("_mask.c:4:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("ensurepip is not available. On Debian/Ubuntu", "apt-get install python3-venv"),
        ("/usr/bin/python3: No module named venv", "apt-get install python3-venv"),
        ("OSError: [Errno 28] No space left on device", "free 8 GB"),
        ("PermissionError: [Errno 13] Permission denied: '/opt/x'", "VENV=..."),
        ("THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE", "pip cache purge"),
        ("ERROR: No matching distribution found for torch==2.14.1 (from x)", "no torch==2.14.1"),
        ("ModuleNotFoundError: No module named 'cv2'", "module cv2 is missing"),
        ("version `GLIBC_2.28' not found", "newer Linux"),
    ],
)
def test_every_known_cause_is_one_sentence_with_its_remedy(step, output, remedy):
    sentence = step.explain(output, doing="testing")
    assert remedy in sentence
    assert "\n" not in sentence and sentence.endswith(".")


def test_a_dead_network_is_told_before_its_consequence(step):
    output = (
        "WARNING: Retrying: Failed to establish a new connection: Name or service not known\n"
        "ERROR: No matching distribution found for numpy==2.4.6\n"
    )
    assert "cannot be reached" in step.explain(output, doing="testing")


def test_an_unknown_cause_names_the_last_error_and_the_log(step, tmp_path):
    output = "Collecting x\nERROR: the moon is full.\nsome hint\n"
    sentence = step.explain(output, doing="installing x", log=tmp_path / "log")
    assert "installing x: ERROR: the moon is full (full output in" in sentence


def test_a_failed_command_shows_its_output_and_logs_it(step, tmp_path, capsys):
    log = tmp_path / "log"
    command = [sys.executable, "-c", "print('libGL.so.1: cannot open'); raise SystemExit(3)"]
    with pytest.raises(step.SetupError, match="libgl1"):
        step.run(command, doing="testing", log=log)
    assert "libGL.so.1" in capsys.readouterr().out
    assert "libGL.so.1" in log.read_text()


# --- the stamp


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """What is_up_to_date looks at, without the cost of a real environment."""
    folder = tmp_path / "venv"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("")
    (folder / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.7\n")
    return folder


@pytest.fixture
def installed(venv: Path) -> str:
    file = venv / "detectron2.py"
    file.write_text("")
    return str(file)


def test_a_complete_set_up_is_up_to_date(env, venv, installed):
    assert not env.is_up_to_date(venv)
    env.write_stamp(venv, installed)
    assert env.is_up_to_date(venv)


def test_an_up_to_date_environment_is_left_alone(env, venv, installed, monkeypatch):
    env.write_stamp(venv, installed)
    monkeypatch.setattr(env, "set_up", lambda venv: pytest.fail("set up a second time"))
    assert env.main(["--venv", str(venv)]) == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda venv: (venv / "pyvenv.cfg").write_text("version = 3.12.1\n"),
        lambda venv: (venv / "bin" / "python").unlink(),
        lambda venv: (venv / "detectron2.py").unlink(),
        lambda venv: (venv / "metaalign-setup.json").write_text('{"fingerprint"'),
        lambda venv: (venv / "metaalign-setup.json").write_text(json.dumps(["other"])),
    ],
    ids=["other python", "interpreter gone", "detectron2 gone", "half a stamp", "foreign stamp"],
)
def test_a_changed_environment_is_set_up_again(env, venv, installed, change):
    env.write_stamp(venv, installed)
    change(venv)
    assert not env.is_up_to_date(venv)


def test_a_changed_requirement_sets_up_again(env, venv, installed, tmp_path, monkeypatch):
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    (requirements / "base.txt").write_text("numpy==2.4.6\n")
    monkeypatch.setattr(env, "REQUIREMENTS", requirements)
    env.write_stamp(venv, installed)
    assert env.is_up_to_date(venv)
    (requirements / "base.txt").write_text("numpy==2.4.5\n")
    assert not env.is_up_to_date(venv)


def test_a_folder_that_is_no_environment_is_not_touched(env, tmp_path, monkeypatch, capsys):
    (tmp_path / "thesis.tex").write_text("x")
    monkeypatch.setattr(env, "check_space", lambda venv: None)
    assert env.main(["--venv", str(tmp_path)]) == 1
    assert "is no virtual environment" in capsys.readouterr().err
    assert (tmp_path / "thesis.tex").read_text() == "x"


def test_too_little_disk_is_told_before_anything_is_downloaded(env, venv, monkeypatch, capsys):
    monkeypatch.setattr(env.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1e9}))
    monkeypatch.setattr(env, "run", lambda *a, **k: pytest.fail("started all the same"))
    assert env.main(["--venv", str(venv)]) == 1
    assert "1.0 GB free" in capsys.readouterr().err


def test_an_old_python_is_refused_in_one_sentence(tmp_path):
    code = (
        "import sys, runpy; sys.version_info = (3, 9, 0); "
        f"runpy.run_path({str(ROOT / 'tools' / 'setup_env.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: Python 3.10 to 3.14 is needed and this is 3.9")
    assert len(done.stderr.splitlines()) == 1


# --- the package


def test_setup_py_reads_the_version_without_importing_the_package():
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "--version"], cwd=ROOT, capture_output=True, text=True
    )
    import metaalign_det

    assert done.stdout.split()[-1] == metaalign_det.__version__, done.stderr


def test_every_requirement_is_pinned_exactly():
    for name in ("base", "mini", "dev", "build", "constraints"):
        for line in (ROOT / "requirements" / f"{name}.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                assert "==" in line.split(";")[0], f"{name}.txt: {line}"
