"""What the documents say about files, keys and names is true."""

from __future__ import annotations

import os
import re
import runpy
import unicodedata
from pathlib import Path

import pytest
import yaml

import metaalign_det
from metaalign_det.adaptation.registry import GRADIENT_SOURCES
from metaalign_det.config import load_cfg
from metaalign_det.config_files import dotted_keys
from metaalign_det.coordination import DIRECTIONS

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "datasets" / "README.md"])
SOURCES = sorted((ROOT / "metaalign_det").rglob("*.py"))


def text_of(path: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(path: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text_of(path), flags=re.MULTILINE)
    kept = ("".join(c for c in t.lower() if _stays(c)).replace(" ", "-") for t in titles)
    return set(kept)


def _stays(character: str) -> bool:
    return character in " -_" or unicodedata.category(character)[0] in "LN"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if link.startswith(("http", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), link
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), link


def test_the_package_cites_documents_and_sections_that_exist():
    cited = 0
    for source in SOURCES:
        text = re.sub(r"\s*\n\s*(# )?", " ", source.read_text(encoding="utf-8"))
        for name, section in re.findall(r"\b(docs/[\w-]+\.md)(?:, \"([^\"]+)\")?", text):
            page = ROOT / name
            assert page.exists(), f"{source.name} cites {name}"
            assert not section or f"## {section}\n" in page.read_text(encoding="utf-8"), section
            cited += 1
    assert cited >= 5


def test_configuration_keys_in_documents_exist():
    keys = dict(dotted_keys(load_cfg()))
    roots = "|".join(sorted({k.partition(".")[0] for k in keys}))
    for page in [ROOT / "docs" / "method.md"]:
        for key in re.findall(rf"`((?:{roots})\.[A-Z_.]+)", text_of(page)):
            assert key in keys, f"{page.name}: {key}"


def test_the_method_page_has_every_coordinator_and_every_direction():
    text = text_of(ROOT / "docs" / "method.md")
    for name in [*GRADIENT_SOURCES, *DIRECTIONS]:
        assert f"\n| `{name}` |" in text, name


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == metaalign_det.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[(.+?)\]", changes, flags=re.MULTILINE)
    assert versions[0] == "Unreleased" and versions[1] == metaalign_det.__version__


def test_the_workflow_runs_what_has_to_hold():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    assert ".ci/run" in [step.get("run") for step in workflow["jobs"]["ci"]["steps"]]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_docstrings_become_markdown_for_the_reference():
    pytest.importorskip("griffe", reason="requirements/docs.txt")
    to_markdown = runpy.run_path(str(ROOT / "docs" / "docstrings.py"))["to_markdown"]
    assert (
        to_markdown("See :class:`~.step.Batch` and ``<g, v>``.")
        == "See `step.Batch` and ``<g, v>``."
    )
    assert to_markdown("raises <g, v>; 1 < 2") == "raises &lt;g, v>; 1 < 2"
    table = "==  ==\na   b\n==  ==\n<g  :mod:`x`\n==  =="
    assert to_markdown(f"One:\n\n{table}\n\nTwo") == f"One:\n\n```text\n{table}\n```\n\nTwo"
    assert to_markdown("So::\n\n    a <b\n\nend") == "So:\n\n    a <b\n\nend"
