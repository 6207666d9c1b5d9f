"""One step of the set-up: run a command, and say in one sentence what to do if it fails.

Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path


class SetupError(Exception):
    """The message is all that the user sees, so it names the remedy."""


# Lines that are not shown, the log keeps them: what pip says in any case, and the sentence of a
# script of ours that failed, which is told once, at the end.
_NOISE = re.compile(
    r"Requirement already satisfied|Looking in |Ignoring \S+: markers|error: "
    r"|WARNING: Location '.*' is ignored"
)

# Pattern in the output of pip, venv, git or an import -> sentence. The first match wins: causes
# stand before their consequences (a full disk or a dead network also ends in "no matching
# distribution").
_CAUSES: tuple[tuple[str, str], ...] = (
    (
        r"DO NOT MATCH THE HASHES",
        "A downloaded file is not the pinned one (its sha256 differs): run 'pip cache purge' and "
        "try again, and if it differs again do not use that package index.",
    ),
    (
        r"No space left on device|\[Errno 28\]|Disk quota exceeded",
        "The disk is full: free 8 GB, or choose another place with VENV=... (and TMPDIR=... for "
        "downloads), then run the same command again to continue.",
    ),
    (
        r"ensurepip is not available|No module named '?(?:venv|ensurepip)\b",
        "This Python cannot make virtual environments: run 'apt-get install python3-venv' (or name "
        "another interpreter with PYTHON=...), then run the same command again.",
    ),
    (
        r"(?:unable to execute|command|No such file or directory:) '[^']*?(?:gcc|g\+\+|cc|c\+\+)'"
        r"|(?:gcc|g\+\+|c\+\+|cc): (?:command )?not found",
        "A package has to be compiled and no working C/C++ compiler was found: run "
        "'apt-get install build-essential', then run the same command again.",
    ),
    (
        r"Python\.h: No such file",
        "A package has to be compiled and Python's headers are missing: run "
        "'apt-get install python3-dev', then run the same command again.",
    ),
    (
        r"name resolution|Could not resolve host|Name or service not known|nodename nor servname"
        r"|Failed to establish a new connection|Network is unreachable|Connection refused"
        r"|ConnectionResetError|ConnectTimeout|Read timed out|ReadTimeoutError"
        r"|Cannot connect to proxy|ProxyError|Max retries exceeded|CERTIFICATE_VERIFY_FAILED",
        "The package index cannot be reached: check network, proxy and certificates (or point pip "
        "at a mirror with PIP_INDEX_URL=...), then run the same command again to continue.",
    ),
    (
        r"No matching distribution found for (?P<what>[^\s(]+)",
        "pip finds no {what} for this Python and platform: use CPython 3.10 to 3.14 on 64-bit "
        "Linux, PYTHON=... names the interpreter (and check that your package index has it).",
    ),
    (
        r"lib(?:GL|gthread-2\.0|glib-2\.0|SM|Xext|Xrender)\.so[.\d]*: cannot open",
        "OpenCV needs system libraries that are missing: run "
        "'apt-get install libgl1 libglib2.0-0', then run the same command again.",
    ),
    (
        r"(?P<what>lib[\w.+-]+\.so[.\d]*): cannot open shared object file",
        "The system library {what} is missing: install the package of your system that has it, "
        "then run the same command again.",
    ),
    (
        r"version `(?P<what>GLIBC[\w.]+)' not found",
        "This system is too old for the pinned packages ({what} is missing): use a newer Linux, "
        "Debian 12 or Ubuntu 22.04 for example.",
    ),
    (
        r"No module named '(?P<what>[\w.]+)'",
        "The Python module {what} is missing after the installation: remove the virtual "
        "environment and run the same command again.",
    ),
    (
        r"Permission denied|\[Errno 13\]|Read-only file system",
        "A file or folder may not be written: choose a folder of your own with VENV=..., or mend "
        "the rights of the one in use, then run the same command again.",
    ),
)


def explain(output: str, *, doing: str, log: Path | None = None) -> str:
    """Turn the output of a failed command into one sentence.

    Args:
        output: everything the command printed, or an exception's text.
        doing: what was being done ("installing the requirements"), for causes not in the table.
        log: file that holds the full output, named where the cause is not in the table.
    """
    for pattern, sentence in _CAUSES:
        match = re.search(pattern, output)
        if match:
            return sentence.format(**match.groupdict())
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?i)(error|fatal)\b|\w*Error:", line)]
    last = (errors or lines or ["no output"])[-1].rstrip(".")
    where = f" (full output in {log})" if log else ""
    return f"Set-up failed while {doing}: {last}{where}; mend it and run the same command again."


def stream(command: list[str], *, log: Path | None = None) -> tuple[int, str]:
    """Run a command, showing its output as it comes; returns exit code and all of the output.

    Standard input is closed: a question nobody sees would look like a hang.
    """
    environment = {
        **os.environ,
        "PIP_NO_INPUT": "1",
        "PIP_USER": "0",  # a setting that pip refuses inside a virtual environment
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if not _NOISE.match(line):
                print(line, end="", flush=True)
    finally:
        code = process.wait()
        if log is not None:
            with log.open("a", encoding="utf-8") as file:
                file.writelines([f"$ {' '.join(command)}\n", *lines])
    return code, "".join(lines)


def run(command: list[str], *, doing: str, log: Path | None = None) -> str:
    """Like `stream`, but a failure raises SetupError with one sentence; returns the output."""
    code, output = stream(command, log=log)
    if code != 0:
        raise SetupError(explain(output, doing=doing, log=log))
    return output
