"""The rooms of docs/architecture.md and the arrows between them, as .importlinter states them."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RULES = ROOT / ".importlinter"

pytest.importorskip("importlinter", reason="a development requirement: requirements/dev.txt")


def lint(rules: Path, package_root: Path) -> subprocess.CompletedProcess:
    """Run import-linter on the package in ``package_root``."""
    call = "import sys; from importlinter.cli import lint_imports_command as run; run(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", call, "--config", str(rules), "--no-cache"],
        cwd=package_root,
        capture_output=True,
        text=True,
    )


def layers() -> list[list[str]]:
    rules = configparser.ConfigParser()
    rules.read(RULES, encoding="utf-8")
    lines = rules["importlinter:contract:layers"]["layers"].strip().splitlines()
    return [re.split(r"\s*[:|]\s*", line.strip()) for line in lines]


def test_the_package_keeps_to_its_rooms():
    result = lint(RULES, ROOT)
    assert result.returncode == 0, result.stdout
    assert "3 kept, 0 broken" in result.stdout


@pytest.mark.parametrize(
    ("module", "imports", "contract"),
    [
        ("coordination", "adaptation", "Arrows run downward"),
        ("alignment", "coordination", "Arrows run downward"),
        ("data", "modeling", "No room imports itself by way of another"),
    ],
)
def test_an_arrow_that_must_not_be_is_found(module, imports, contract, tmp_path):
    package = tmp_path / "metaalign_det"
    for name in (room for layer in layers() for room in layer):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    (package / module / "__init__.py").write_text(f"from .. import {imports}\n")
    if module == "data":
        (package / imports / "__init__.py").write_text(f"from .. import {module}\n")
    result = lint(RULES, tmp_path)
    assert result.returncode == 1 and f"{contract} BROKEN" in result.stdout, result.stdout


def test_the_drawing_shows_these_layers():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    drawing = text.split("```")[1]
    boxes = [re.findall(r"^│ (\w+)", box, flags=re.MULTILINE) for box in drawing.split("▼")]
    assert boxes == layers()
    widths = {len(line) for line in drawing.strip().splitlines() if line[0] in "┌│└"}
    assert len(widths) == 1, "the boxes' edges are in line"


def test_a_walk_of_ten_lines_names_modules_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = text.split("## One batch")[1]
    assert len(re.findall(r"^\d+\. ", walk, flags=re.MULTILINE)) == 10
    rooms = "|".join(room for layer in layers() for room in layer)
    for name in re.findall(rf"`((?:{rooms})(?:\.\w+)*)`", text):
        parts = [p for p in name.split(".") if not p[0].isupper()]
        place = ROOT.joinpath("metaalign_det", *parts)
        assert place.is_dir() or place.with_suffix(".py").exists(), name
