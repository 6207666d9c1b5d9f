"""A :class:`~.document.Document` as one HTML file, as Markdown and as JSON."""

from __future__ import annotations

from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape
from tabulate import tabulate

from ..files import write_json
from .document import Block, Card, Document, Figure, Table, Text, Verdict

_TEMPLATES = Path(__file__).parent / "templates"


def to_html(document: Document) -> str:
    """One file that needs no other and no network, in the reader's light or dark theme."""
    return _template().render(
        document=document, style=(_TEMPLATES / "report.css").read_text(encoding="utf-8")
    )


def to_markdown(document: Document) -> str:
    """The same text and tables; of a figure, what it shows in words."""
    parts = [f"# {document.title}", document.subtitle]
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def to_json(document: Document, path: str | Path) -> None:
    """The numbers of all sections, unrounded."""
    facts = {section.id: section.facts for section in document.sections if section.facts}
    write_json(path, {"title": document.title, **facts})


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader

    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["breakable"] = _breakable
    environment.filters["by_kind"] = lambda blocks: [
        (kind, list(together)) for kind, together in groupby(blocks, lambda block: block.kind)
    ]
    return environment.get_template("report.html")


def _breakable(text: object) -> Markup:
    """Names without spaces may break behind their dots and underscores."""
    broken = str(escape(str(text)))
    for mark in "._/":
        broken = broken.replace(mark, f"{mark}<wbr>")
    return Markup(broken)


def _block(block: Block) -> str:
    if isinstance(block, Table):
        lines = [block.columns, *block.rows]
        head, *rows = [[str(cell).replace("|", "\\|") for cell in line] for line in lines]
        table = tabulate(rows, headers=head, tablefmt="pipe", disable_numparse=True)
        return "\n\n".join(filter(None, [f"**{block.caption}**", table, block.note]))
    if isinstance(block, Verdict):
        badge = f" ({block.badge})" if block.badge else ""
        return f"- {'**' if block.main else ''}{block.text}{'**' if block.main else ''}{badge}"
    if isinstance(block, Figure):
        return f"*{block.caption}*: {block.alt}"
    if isinstance(block, Card):
        told = [f"  - {f.caption}: {f.alt}" for f in block.figures if f.caption]
        return "\n".join([f"- {block.heading} {block.text}".rstrip(), *told])
    assert isinstance(block, Text)
    return f"> {block.text}" if block.tone == "note" else block.text
