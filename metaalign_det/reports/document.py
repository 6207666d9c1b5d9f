"""A report before it has a form: sections of tables, figures and text.

The same sections become HTML, Markdown and JSON (:mod:`.render`), so that no number is worked out
twice. Texts are plain; what is markup is a figure's SVG alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Cell:
    """A cell of a table that is more than its text.

    Args:
        text: what it says.
        tone: "good", "bad", "quiet", or "" for an ordinary one; never the only carrier of what it
            says.
        share: in [0, 1], how strongly it is filled, as in a confusion matrix; None for no filling.
    """

    text: str
    tone: str = ""
    share: float | None = None

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first cell of a row is its heading.

    Args:
        caption: what it shows; unique within a report.
        columns: headings, that of the row headings first.
        rows: as many cells each as there are columns.
        note: a sentence below it.
        folded: shown only when asked for.
        text: its cells are words, not numbers to compare down a column.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    note: str = ""
    folded: bool = False
    text: bool = False
    kind: str = field(default="table", init=False)


@dataclass(frozen=True)
class Figure:
    """A drawing.

    Args:
        caption: below it.
        svg: one ``<svg>`` element with ``role="img"`` and a label of its own.
        alt: what it shows, in words, for Markdown.
        legend: pairs of a style (class names of a swatch) and what it stands for.
        wide: takes the whole width.
    """

    caption: str
    svg: str
    alt: str
    legend: Sequence[tuple[str, str]] = ()
    wide: bool = False
    kind: str = field(default="figure", init=False)


@dataclass(frozen=True)
class Card:
    """Several figures of one subject side by side, with a heading."""

    heading: str
    text: str
    figures: Sequence[Figure]
    kind: str = field(default="card", init=False)


@dataclass(frozen=True)
class Text:
    """A paragraph; ``tone`` "note" for a remark on how to read what is there."""

    text: str
    tone: str = ""
    kind: str = field(default="text", init=False)


@dataclass(frozen=True)
class Verdict:
    """One finding of the summary: a sentence, and in two words how sure it is.

    Args:
        text: the finding.
        badge: "beyond noise", "not beyond noise", ...; "" for none.
        tone: "good", "bad" or "quiet".
        main: the first thing to read.
    """

    text: str
    badge: str = ""
    tone: str = "quiet"
    main: bool = False
    kind: str = field(default="verdict", init=False)


Block = Table | Figure | Card | Text | Verdict


@dataclass(frozen=True)
class Section:
    """A part of a report.

    Args:
        id: its anchor, and its key in the JSON.
        title: heading.
        blocks: in order; a section without any is left out.
        facts: its numbers, as JSON has them.
    """

    id: str
    title: str
    blocks: Sequence[Block]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Document:
    """A report: its title, a line below it, and the sections."""

    title: str
    subtitle: str
    sections: Sequence[Section]
