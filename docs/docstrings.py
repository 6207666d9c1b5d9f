"""Docstrings as mkdocstrings wants them: reStructuredText roles, tables and blocks as Markdown.

mkdocs.yml names this file as an extension of griffe, which reads the package's sources for the API
reference.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc):`[~.]*([^`]+)`")
_CODE = re.compile(r"(``.+?``|`[^`]+`)")
_TABLE = re.compile(r"(?m)^( *)(=+(?: +=+)+)\n(?:.*\n)*?\1\2\n(?:.*\n)*?\1\2$")
_BLOCK = re.compile(r"(?m)^( *).*::\n\n(?:\1 +.*(?:\n|\Z)|\n)+")


class Markdown(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    """A docstring with roles as code, tables and ``::`` blocks as code blocks, ``<`` as itself."""
    verbatim: list[str] = []

    def keep(found: re.Match) -> str:
        verbatim.append(found[0])
        return f"\0{len(verbatim) - 1}\0"

    text = _TABLE.sub(keep, text)
    text = _BLOCK.sub(keep, text)
    pieces = _CODE.split(_ROLE.sub(r"`\1`", text))
    pieces[::2] = [re.sub(r"<(?=\w)", "&lt;", piece) for piece in pieces[::2]]
    return re.sub(r"\0(\d+)\0", lambda found: _code(verbatim[int(found[1])]), "".join(pieces))


def _code(block: str) -> str:
    head, colons, body = block.partition("::\n\n")
    if colons:
        return f"{head}:\n\n{body}" if head.strip() else body
    return f"```text\n{block}\n```"
