"""Put Detectron2 into the environment of the Python that runs this script. Standard library only.

Detectron2 is not on PyPI under its own name. Routes, in this order:

1. `existing`: an importable `detectron2` is used as it is;
2. `upstream`: built from the pinned upstream commit, if git and a C++ compiler are there and the
   git host answers within seconds (a closed network falls through at once);
3. `wheel`: the pinned PyPI wheel, its hash checked, only its `detectron2/` unpacked. Its metadata
   would ask for black and numpy<2 and bring a stray top-level package `tools`.

METAALIGN_DETECTRON2=auto (default: the order above), upstream or wheel chooses.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from setup_step import SetupError, explain, run

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements"
WHEEL_PIN = REQUIREMENTS / "detectron2-wheel.txt"
UPSTREAM_PIN = REQUIREMENTS / "detectron2-upstream.txt"
CONSTRAINTS = REQUIREMENTS / "constraints.txt"

CHOICE_VARIABLE = "METAALIGN_DETECTRON2"
CHOICES = ("auto", "upstream", "wheel")
GIT_TIMEOUT_SECONDS = 5
# The wheel is tagged cp310; all of it that is used is Python, which runs on later versions too.
WHEEL_PYTHON = "3.10"


def requested_choice(environ: dict[str, str] | os._Environ[str] = os.environ) -> str:
    """Value of METAALIGN_DETECTRON2, checked."""
    choice = environ.get(CHOICE_VARIABLE) or "auto"
    if choice not in CHOICES:
        raise SetupError(f"{CHOICE_VARIABLE}={choice} is not one of {', '.join(CHOICES)}.")
    return choice


def choose_routes(
    choice: str, existing: str | None, upstream_problem: Callable[[], str | None]
) -> list[str]:
    """Routes to try, in order.

    Args:
        choice: one of CHOICES.
        existing: file of an importable detectron2, or None.
        upstream_problem: says why upstream cannot be built, or None if it can. Called only when
            the answer matters, because it asks the network.
    """
    if existing is not None:
        return ["existing"]
    if choice == "wheel":
        return ["wheel"]
    problem = upstream_problem()
    if choice == "upstream":
        if problem is not None:
            raise SetupError(
                f"Detectron2 cannot be built from upstream, {problem}; "
                f"or set {CHOICE_VARIABLE}=wheel to use the PyPI wheel."
            )
        return ["upstream"]
    return ["wheel"] if problem is not None else ["upstream", "wheel"]


def find_existing(python: str = sys.executable) -> str | None:
    """File of the detectron2 that this environment imports, or None.

    Asked in a fresh process from a neutral folder, so that neither a folder named detectron2 here
    nor this process's import caches answer. One that is there but does not import (torch's
    libraries are missing, say) is an error: replacing it would hide the cause.
    """
    code = "import detectron2; print(detectron2.__file__ or '')"
    with tempfile.TemporaryDirectory() as nowhere:
        found = subprocess.run(
            [python, "-c", code], cwd=nowhere, capture_output=True, text=True, check=False
        )
    if found.returncode == 0:
        return found.stdout.strip() or None  # an empty folder imports too, without a file
    if "No module named 'detectron2'" in found.stderr:
        return None
    raise SetupError(explain(found.stderr, doing="importing the detectron2 that is installed"))


def upstream_url(pin: Path = UPSTREAM_PIN) -> str:
    """https address of the repository in the pinned upstream requirement."""
    match = re.search(r"git\+(https://\S+?)@[0-9a-f]{40}$", pin.read_text(), flags=re.MULTILINE)
    if match is None:
        raise SetupError(f"{pin} must hold git+https://...@<40 hexadecimal digits>.")
    return match.group(1)


def find_upstream_problem() -> str | None:
    """Why upstream cannot be built here, with the remedy; None if nothing speaks against it."""
    if shutil.which("git") is None:
        return "git is missing: run 'apt-get install git'"
    compilers = (os.environ.get("CXX", "").split() or ["c++"])[:1] + ["g++", "clang++"]
    if not any(shutil.which(compiler) for compiler in compilers):
        return "a C++ compiler is missing: run 'apt-get install build-essential'"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "Python's headers are missing: run 'apt-get install python3-dev'"
    try:
        subprocess.run(
            ["git", "ls-remote", "--quiet", upstream_url(), "HEAD"],
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
    """Build and install the pinned upstream commit against the torch that is installed here."""
    # Upstream's setup.py imports torch, which a build environment of pip's own would not have.
    command = ["install", "--no-build-isolation", "-c", str(CONSTRAINTS), "-r", str(UPSTREAM_PIN)]
    _pip(command, doing="building Detectron2 from upstream")


def pinned_wheel(pin: Path = WHEEL_PIN) -> tuple[str, str]:
    """Requirement (`name==version`) and sha256 of the pinned wheel."""
    match = re.search(
        r"^(\S+==\S+)\s+--hash=sha256:([0-9a-f]{64})$", pin.read_text(), flags=re.MULTILINE
    )
    if match is None:
        raise SetupError(f"{pin} must hold one line 'name==version --hash=sha256:<64 digits>'.")
    return match.group(1), match.group(2)


def check_sha256(path: Path, expected: str) -> None:
    """Raise SetupError unless the file has the pinned hash."""
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != expected:
        raise SetupError(
            f"{path.name} is not the pinned wheel (sha256 {found}, expected {expected}): "
            "run 'pip cache purge' and try again, and if it differs again do not use that index."
        )


def unpack_package(wheel: Path, site_packages: Path) -> Path:
    """Unpack only `detectron2/` of a wheel into site-packages: all of it or nothing.

    The compiled `detectron2/_C` is left out: it was built for another torch, Faster R-CNN does
    not need it, and every Python version then runs the same code.
    """
    target = site_packages / "detectron2"
    # A temporary folder inside site-packages is on the same file system: the rename is atomic.
    with tempfile.TemporaryDirectory(prefix=".detectron2-", dir=site_packages) as scratch:
        with zipfile.ZipFile(wheel) as archive:
            members = [
                name
                for name in archive.namelist()
                if name.startswith("detectron2/") and not name.startswith("detectron2/_C.")
            ]
            if "detectron2/__init__.py" not in members:
                raise SetupError(f"{wheel.name} holds no detectron2 package: wrong wheel.")
            archive.extractall(scratch, members)
        if target.exists():  # not importable: a folder without __init__.py
            target.rename(Path(scratch) / "leftover")
        (Path(scratch) / "detectron2").rename(target)
    return target


def install_wheel(site_packages: Path) -> Path:
    """Download the pinned wheel, check its hash and unpack it."""
    _, sha256 = pinned_wheel()
    with tempfile.TemporaryDirectory() as folder:
        command = ["download", "--no-deps", "--only-binary=:all:", "--require-hashes"]
        command += ["--python-version", WHEEL_PYTHON, "-d", folder, "-r", str(WHEEL_PIN)]
        _pip(command, doing="downloading the Detectron2 wheel")
        (wheel,) = Path(folder).glob("*.whl")
        check_sha256(wheel, sha256)
        return unpack_package(wheel, site_packages)


def install() -> str:
    """Install Detectron2 by the first route that works; returns the route's name."""
    choice = requested_choice()
    existing = find_existing()
    for route in choose_routes(choice, existing, find_upstream_problem):
        if route == "existing":
            print(f"Detectron2: using the one that is importable, {Path(existing or '').parent}")
            if choice != "auto":
                print(f"  ({CHOICE_VARIABLE}={choice} would need that folder removed first)")
        elif route == "upstream":
            print(
                "Detectron2: building upstream from source, about 15 minutes with one job. "
                f"Ctrl-C and {CHOICE_VARIABLE}=wheel takes the ready-made PyPI wheel instead.",
                flush=True,
            )
            try:
                install_upstream()
            except SetupError as error:
                if choice == "upstream":
                    raise
                print(f"Detectron2: upstream did not build ({error}) The PyPI wheel comes next.")
                continue
        else:
            requirement, _ = pinned_wheel()
            print(f"Detectron2: unpacking the PyPI wheel {requirement}", flush=True)
            install_wheel(Path(sysconfig.get_path("purelib")))
        return route
    raise AssertionError("the last route returns or raises")


def _pip(arguments: list[str], *, doing: str) -> None:
    run([sys.executable, "-m", "pip", *arguments], doing=doing)


def main() -> int:
    """Entry point: 0, or 1 with one sentence on stderr."""
    try:
        install()
    except SetupError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {explain(str(error), doing='installing Detectron2')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again to continue.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
