"""The repository's own pages (README, data sets, contributing, security) on the built site.

mkdocs.yml names this file as a hook. Documents link to these pages, and they to documents, by their
places in the repository; on the site a link leads to the page of its target. What the site does not
have (sources, licences) stays as the words of its link.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
#: Page of the site by its place in the repository.
PAGES = {
    "README.md": "readme.md",
    "datasets/README.md": "datasets.md",
    "metaalign_det/miniatures/weights/README.md": "weights.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|mailto:|#)([^)#\s]+)(#[^)\s]+)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages of :data:`PAGES`."""
    from mkdocs.structure.files import File

    for source, page in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links as those of the site."""
    places = {name: source for source, name in PAGES.items()}
    here = page.file.src_uri
    source = places.get(here, f"docs/{here}")
    return with_links_of_the_site(markdown, source, here, set(files.src_uris))


def with_links_of_the_site(markdown: str, source: str, page: str, there: set[str]) -> str:
    """Links of a repository's file as those of its page on the site.

    Args:
        markdown: the text of the file.
        source: place of the file in the repository.
        page: place of its page on the site.
        there: places of all the site's files.
    """

    def link(found: re.Match) -> str:
        picture, words, target, anchor = found.groups()
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        goal = PAGES.get(place, place.removeprefix("docs/") if place.startswith("docs/") else "")
        if goal not in there:
            return words
        way = posixpath.relpath(goal, posixpath.dirname(page) or ".")
        return f"{picture}[{words}]({way}{anchor or ''})"

    return _LINK.sub(link, markdown)
