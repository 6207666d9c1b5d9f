"""Which files of a folder are checkpoints of a run, and which of them is the newest whole one."""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path
from typing import Any

from ..errors import UserError

logger = logging.getLogger(__name__)

#: Names that ``last_checkpoint`` may hold: a file of its own folder, nothing else.
PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.pth")
#: Names of the checkpoints that training writes on its way; the number is the iteration.
PERIODIC_NAME = re.compile(r"model_(\d{1,18})\.pth")
#: Weights that selection.py keeps to be used: they hold no state to go on from.
KEPT_NAMES = frozenset({"model_selected.pth", "model_oracle.pth"})
_LONGEST_NAME = 255  # bytes of last_checkpoint that are read; no file name is longer


def checkpoint_files(folder: str | Path) -> list[Path]:
    """Files of the folder that may be checkpoints to go on from: plain ``.pth`` files, no links."""
    folder = Path(folder)
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    files = [folder / n for n in names if PLAIN_NAME.fullmatch(n) and n not in KEPT_NAMES]
    return [f for f in files if stat.S_ISREG(f.lstat().st_mode)]


def choose_newest(folder: str | Path) -> tuple[str, dict[str, Any]]:
    """The newest checkpoint of a run in a folder that reads and verifies, by its iteration.

    Damaged and foreign ones are passed over, and named in the log; so is the choice where it is
    not what ``last_checkpoint`` names.

    Returns:
        path and content, which has "model", "trainer" and "metaalign".

    Raises:
        UserError: there is none; says why not.
    """
    folder = Path(folder)
    files = checkpoint_files(folder)
    if not files:
        raise UserError(
            f"--resume: there is no checkpoint in {str(folder)!r}; leave --resume out to start "
            "from MODEL.WEIGHTS, or set OUTPUT_DIR to the run you mean"
        )
    last = named_last(folder)
    # Newest first, and of several of one iteration the one that last_checkpoint names.
    order = sorted(files, key=lambda f: (_iteration(f), f.name == last, f.name), reverse=True)
    problems: list[str] = []
    for file in order:
        try:
            content = _read_resumable(file)
        except UserError as error:
            problems.append(str(error))
        else:
            for text in problems:
                logger.warning("--resume: %s", text)
            if problems or (last and file.name != last):
                logger.warning(
                    "--resume: going on from %s, iteration %d, which is not what last_checkpoint "
                    "names (%s)",
                    file,
                    content["metaalign"]["iteration"],
                    last,
                )
            return str(file), content
    more = f" (nor can {len(problems) - 1} others)" if len(problems) > 1 else ""
    raise UserError(
        f"--resume: no checkpoint in {str(folder)!r} can be gone on from: {problems[0]}{more}; "
        "nothing was changed. Leave --resume out and set another OUTPUT_DIR to start anew"
    )


def _read_resumable(path: Path) -> dict[str, Any]:
    from ..modeling.weight_files import read_weight_file  # with torch: names alone need none

    content = read_weight_file(path)
    saved = content.get("metaalign")
    if not isinstance(content.get("model"), dict) or not isinstance(content.get("trainer"), dict):
        raise UserError(f"{path} holds no state of a training")
    if not isinstance(saved, dict) or not isinstance(saved.get("config"), str):
        raise UserError(
            f"{path} does not say how it was trained (an earlier version wrote it, or another "
            "program); MODEL.WEIGHTS starts a new run from its weights"
        )
    if type(saved.get("iteration")) is not int or saved["iteration"] < 0:
        raise UserError(f"{path} does not say how far it has come")
    return content


def named_last(folder: str | Path) -> str | None:
    """The file that ``last_checkpoint`` names, if it names one of its own folder."""
    marker = Path(folder) / "last_checkpoint"
    try:
        if not stat.S_ISREG(marker.lstat().st_mode):
            name = ""  # a link may lead anywhere, a pipe never ends
        else:
            with open(marker, "rb") as file:
                name = file.read(_LONGEST_NAME + 1).decode("utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        name = ""
    if PLAIN_NAME.fullmatch(name) and len(name) <= _LONGEST_NAME:
        return name
    logger.warning("%s is ignored: it does not name a .pth file of its folder", marker)
    return None


def _iteration(path: Path) -> float:
    """For sorting: what the file says, or else its name, so that damaged ones keep their place."""
    from ..modeling.weight_files import peek  # with torch: names alone need none

    found = peek(path, "iteration")
    if type(found) is int:
        return found
    number = PERIODIC_NAME.fullmatch(path.name)
    return int(number[1]) if number else float("inf")
