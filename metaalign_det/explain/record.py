"""What a command of this room leaves behind: pictures, JSON and Markdown, never over something."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_json

#: Wraps what a long loop runs over, with a few words on what it does, and shows how far it is.
Progress = Callable[[Iterable, str], Iterable]


def quietly(items: Iterable, what: str) -> Iterable:
    """The :data:`Progress` that shows nothing."""
    return items


class Record:
    """The folder that one command writes, under a fixed list of file names.

    Args:
        folder: made when something is written.
        names: files that the command writes.
        overwrite: replace those that are there.

    Raises:
        UserError: some are there and ``overwrite`` is not set; before any work is done.
    """

    def __init__(self, folder: str | Path, names: Sequence[str], overwrite: bool = False) -> None:
        self.folder = Path(folder)
        self.names = tuple(names)
        there = [n for n in names if (self.folder / n).exists()]
        if there and not overwrite:
            raise UserError(
                f"{self.folder} already holds {', '.join(there)}: choose another --output, or "
                "replace them with --overwrite"
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise UserError(f"--output {self.folder} is a file")

    def path(self, name: str) -> Path:
        """Where to write the file ``name``, one of those announced."""
        if name not in self.names:
            raise ValueError(f"{name} was not announced; the files are {', '.join(self.names)}")
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        write_json(self.path(name), data)

    def finish(self, name: str, title: str, parts: Sequence[str], command: str) -> Written:
        """Write the Markdown page: a title, parts (paragraphs and tables), and the command.

        Args:
            name: of the page.
            title: its heading.
            parts: paragraphs and tables.
            command: that made it; "" leaves it out.
        """
        made = [f"```\n{command}\n```"] if command else []
        page = "\n\n".join([f"# {title}", *parts, *made]) + "\n"
        self.path(name).write_text(page, encoding="utf-8")
        files = tuple(n for n in self.names if (self.folder / n).exists())
        return Written(self.folder, files, "\n\n".join(parts))


@dataclass(frozen=True)
class Written:
    """What a command wrote.

    Args:
        folder: where.
        files: names in it.
        text: the page's paragraphs and tables, for a terminal.
    """

    folder: Path
    files: tuple[str, ...]
    text: str


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; the first column is left-aligned and the others right-aligned."""
    lines = ["| " + " | ".join(columns) + " |", "|:--" + "|--:" * (len(columns) - 1) + "|"]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)
