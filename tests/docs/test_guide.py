"""The guide's commands, and README's, do what the pages say.

``console`` blocks, and others below a comment, are run in a small world of photos and drawings.
Lines after a ``$ command`` are what it must print, in which ``...`` stands for anything; a command
that prints ``error:`` must fail with exit code 2. Of ``bash`` blocks, which want GPUs or a cluster,
every ``metaalign-det`` command is parsed: options, config, keys and values exist. A comment says
how the test differs from the reader:

    <!-- test: short -->            trainings get SHORT, behind what the page says
    <!-- test: after training -->   the folder of the page's run holds one already
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.first_hour import make_folders
from metaalign_det.cli import train
from metaalign_det.cli.__main__ import build_parser, main
from metaalign_det.config import load_cfg

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "guide").glob("*.md"))
#: Settings of a training that only has to work.
SHORT = shlex.split(
    "SOLVER.MAX_ITER 2 SOLVER.STEPS '()' TEST.EVAL_PERIOD 2 DATALOADER.NUM_WORKERS 0 "
    "INPUT.MIN_SIZE_TRAIN '(64,)' INPUT.MIN_SIZE_TEST 64 SELECTION.IMAGES 4"
)

_BLOCK = re.compile(r"(?:<!-- test: (.+?) -->\n)?```(\w*)\n(.*?)```", flags=re.DOTALL)
_COMMAND = re.compile(r"metaalign-det (?:[^\n\\]|\\\n)*|-m metaalign_det\.cli (?:[^\n\\]|\\\n)*")


def blocks(page: Path, language: str) -> list[tuple[str, str]]:
    """(what the comment says, text) of each block."""
    found = _BLOCK.findall(page.read_text(encoding="utf-8"))
    return [(comment, text) for comment, name, text in found if name == language]


def runnable(page: Path) -> list[tuple[str, str]]:
    """Console blocks, and bash blocks below a comment in the shape of console blocks."""
    plain = [(comment, text) for comment, text in blocks(page, "bash") if comment]
    return [
        *blocks(page, "console"),
        *(
            (comment, "".join(f"$ {line}\n" for line in text.splitlines()))
            for comment, text in plain
        ),
    ]


def steps(text: str) -> list[tuple[str, str]]:
    """(command, what it must print) of a console block."""
    found = re.split(r"^\$ ", text.replace("\\\n", " "), flags=re.MULTILINE)[1:]
    return [tuple(step.partition("\n")[::2]) for step in found]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    make_folders(folder, photos=8, drawings=8, labelled=4)
    return folder


def quietly(words: list[str]) -> tuple[int, str]:
    """Run a command in this process, which saves its imports."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(words)
    return code, printed.getvalue()


@pytest.fixture(autouse=True)
def _loggers():
    """A training that fails in this process may have set up logging by then."""
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "metaalign_det")]
    before = [(log.handlers[:], log.level, log.propagate) for log in loggers]
    yield
    for log, (handlers, level, propagate) in zip(loggers, before):
        log.handlers, log.propagate = handlers, propagate
        log.setLevel(level)


def run(words: list[str], folder: Path, trains: bool) -> tuple[int, str]:
    """Exit code and what was printed; what trains gets a process of its own."""
    if not trains:
        return quietly(words[1:])
    done = subprocess.run(
        [sys.executable, "-m", "metaalign_det.cli", *words[1:]],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.returncode, re.sub(r"\x1b\[[\d;]*m", "", done.stdout)


def shows(printed: str, wanted: str) -> bool:
    """Whether the text has the wanted lines in it, ``...`` being anything."""
    parts = [re.escape(part) for part in re.split(r" ?\.\.\. ?", " ".join(wanted.split()))]
    return re.search(".*?".join(parts), " ".join(printed.split())) is not None


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.stem)
def test_what_a_page_runs_works(page, world, tmp_path, monkeypatch, catalog):
    if not (consoles := runnable(page)):
        pytest.skip("nothing to run on this page")
    folder = tmp_path / "here"
    shutil.copytree(world, folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    if page.stem not in ("own-data", "README"):  # which make it
        quietly(["init", "photos", "drawings", "--test", "labelled_drawings"])
    for comment, text in consoles:
        if comment == "after training":
            done = shlex.split("metaalign-det train --config-file photos2drawings.yaml")
            assert run([*done, *SHORT], folder, trains=True)[0] == 0
        for command, wanted in steps(text):
            words = shlex.split(command, comments=True)
            assert words[0] == "metaalign-det", command
            failing = re.search("^error:", wanted, flags=re.MULTILINE) is not None
            trains = words[1] == "train" and (comment == "short" or not failing)
            words += SHORT if trains and comment == "short" else []
            code, printed = run(words, folder, trains)
            assert code == (2 if failing else 0), f"$ {command}\n{printed[-3000:]}"
            assert shows(printed, wanted), f"$ {command}\n{printed[-3000:]}\nlacks\n{wanted}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.stem)
def test_what_a_page_only_shows_is_legal(page):
    for _, text in blocks(page, "bash"):
        for command in _COMMAND.findall(re.sub(r"(^|\s)#.*", "", text)):
            check(command.replace("\\\n", " "))
    for _, text in blocks(page, "bash"):
        checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True)
        assert checked.returncode == 0, checked.stderr


def check(command: str) -> None:
    """Options exist, and the config with its keys and values, where the package has it."""
    words = [w for w in shlex.split(command, comments=True) if w not in ("&", "$resume")]
    words = words[2:] if words[0] == "-m" else words[1:]
    args = build_parser().parse_args(words)
    if args.command == "train" and not args.config_file.startswith("photos2drawings"):
        load_cfg(args.config_file, args.opts or [])
        assert isinstance(train.setup(args).SOLVER.MAX_ITER, int)


def test_pages_of_the_guide_are_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    for page in PAGES:
        assert f"guide/{page.name}" in text
        assert page.stem == "index" or page.name in (page.parent / "index.md").read_text()


def test_predictions_of_the_stopwatch_are_read_where_they_are_written(world):
    content = json.loads((world / "photos" / "instances.json").read_text())
    assert len(content["images"]) == 8 and content["annotations"]
    assert len([p for p in (world / "drawings").rglob("*.*") if p.is_file()]) == 8
