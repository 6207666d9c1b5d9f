"""Put Detectron2 into the environment of the Python that runs this script. Standard library only.

Detectron2 is not on PyPI under its own name. In this order:

1. an importable `detectron2` is used as it is;
2. upstream is built from the pinned commit, if git, a C++ compiler and Python's headers are there
   and the git host answers within seconds (a closed network falls through at once);
3. the pinned PyPI wheel: its hash is checked and only its `detectron2/` unpacked. Its metadata
   would ask for black and numpy<2 and bring a stray top-level package `tools`.

METAALIGN_DETECTRON2=auto (default: the order above), upstream or wheel chooses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
WHEEL = REQUIREMENTS / "detectron2-wheel.txt"
UPSTREAM = REQUIREMENTS / "detectron2-upstream.txt"
CHOICES = ("auto", "upstream", "wheel")
GIT_TIMEOUT_SECONDS = 5


class SetupError(Exception):
    """The message is all that the user sees, so it names the remedy."""


def find_existing(python: str = sys.executable) -> str | None:
    """File of the detectron2 that is installed, or None.

    Asked in a fresh process from a neutral folder, so that a folder named detectron2 here does
    not answer. One that is there but does not import is an error: replacing it would hide why.
    """
    code = "import detectron2; print(detectron2.__file__ or '')"
    with tempfile.TemporaryDirectory() as nowhere:
        done = subprocess.run([python, "-c", code], cwd=nowhere, capture_output=True, text=True)
    if done.returncode == 0:
        return done.stdout.strip() or None  # an empty folder imports too, without a file
    if "No module named 'detectron2'" in done.stderr:
        return None
    raise SetupError(
        "the detectron2 that is installed does not import: "
        f"{(done.stderr.strip().splitlines() or ['it crashed'])[-1]}; fix or remove it"
    )


def find_upstream_problem() -> str | None:
    """Why upstream cannot be built here, with the remedy; None if nothing speaks against it."""
    if shutil.which("git") is None:
        return "git is missing: run 'apt-get install git'"
    compilers = (os.environ.get("CXX", "").split() or ["c++"])[:1] + ["g++", "clang++"]
    if not any(map(shutil.which, compilers)):
        return "a C++ compiler is missing: run 'apt-get install build-essential'"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are missing: run 'apt-get install python3-dev'"
    address = re.search(r"git\+(https://\S+?)@[0-9a-f]{40}", UPSTREAM.read_text())
    command = ["git", "ls-remote", "--quiet", address.group(1) if address else "", "HEAD"]
    try:
        subprocess.run(
            command,
            env={**os.environ, "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        return f"the git host does not answer within {GIT_TIMEOUT_SECONDS} s: check the network"
    return None


def install_upstream() -> None:
    """Build the pinned upstream commit against the torch that is installed here."""
    # Its setup.py imports torch, which a build environment of pip's own would not have.
    constraints = str(REQUIREMENTS / "constraints.txt")
    _pip("install", "--no-build-isolation", "-c", constraints, "-r", str(UPSTREAM))


def install_wheel(site_packages: Path, pin: Path = WHEEL) -> None:
    """Download the pinned wheel, which pip holds against its hash, and unpack it."""
    with tempfile.TemporaryDirectory() as folder:
        # Tagged cp310; all of it that is used is Python, which runs on later versions too.
        options = ["--no-deps", "--only-binary=:all:", "--require-hashes", "--python-version=3.10"]
        _pip("download", *options, "-d", folder, "-r", str(pin))
        (wheel,) = Path(folder).glob("*.whl")
        unpack_package(wheel, site_packages)


def unpack_package(wheel: Path, site_packages: Path) -> None:
    """Unpack only `detectron2/` of a wheel into site-packages: all of it or nothing.

    The compiled `detectron2/_C` is left out: it was built for another torch, Faster R-CNN does
    not need it, and every Python version then runs the same code.
    """
    target = site_packages / "detectron2"
    # A temporary folder inside site-packages is on the same file system: the rename is atomic.
    with tempfile.TemporaryDirectory(prefix=".detectron2-", dir=site_packages) as scratch:
        with zipfile.ZipFile(wheel) as archive:
            wanted = re.compile(r"detectron2/(?!_C\.)")
            members = [name for name in archive.namelist() if wanted.match(name)]
            if "detectron2/__init__.py" not in members:
                raise SetupError(f"{wheel.name} holds no detectron2 package: wrong wheel")
            archive.extractall(scratch, members)
        if target.exists():  # not importable: a folder without __init__.py
            target.rename(Path(scratch, "leftover"))
        Path(scratch, "detectron2").rename(target)


def install(choice: str) -> None:
    """Install Detectron2 by the first route that works; ``choice`` is one of CHOICES."""
    if choice not in CHOICES:
        raise SetupError(f"METAALIGN_DETECTRON2={choice} is not one of {', '.join(CHOICES)}")
    if existing := find_existing():
        print(f"Detectron2: using the one that is importable, {Path(existing).parent}")
        return
    problem = None if choice == "wheel" else find_upstream_problem()
    if choice == "upstream" and problem:
        raise SetupError(f"{problem}; or set METAALIGN_DETECTRON2=wheel to use the PyPI wheel")
    if choice != "wheel" and problem is None:
        print(
            "Detectron2: building upstream, about 15 minutes with one job. "
            "Ctrl-C and METAALIGN_DETECTRON2=wheel takes the ready-made PyPI wheel instead.",
            flush=True,
        )
        try:
            return install_upstream()
        except SetupError:
            if choice == "upstream":
                raise
            print("Detectron2: upstream did not build; the PyPI wheel comes next")
    print("Detectron2: unpacking the PyPI wheel", flush=True)
    install_wheel(Path(sysconfig.get_path("purelib")))


def _pip(command: str, *arguments: str) -> None:
    if subprocess.run([sys.executable, "-m", "pip", command, *arguments]).returncode:
        raise SetupError(
            f"pip {command} of Detectron2 failed; its last lines say why (a hash that differs: "
            "'pip cache purge', and if it differs again do not use that package index; else "
            "network, disk or compiler): fix it, then run the same command again"
        )


if __name__ == "__main__":
    try:
        install(os.environ.get("METAALIGN_DETECTRON2") or "auto")
    except (SetupError, OSError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: run the same command again to continue\n")
        sys.exit(130)
