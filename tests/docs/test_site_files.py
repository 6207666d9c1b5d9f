"""Links between documents and the repository's other pages lead somewhere on the built site."""

from __future__ import annotations

import pytest

from docs.site_files import PAGES, ROOT, with_links_of_the_site

THERE = {"index.md", "guide/own-data.md", "pictures/a.png", *PAGES.values()}


@pytest.mark.parametrize(
    "source, page, link, on_the_site",
    [
        ("docs/index.md", "index.md", "[it](../README.md)", "[it](readme.md)"),
        ("docs/guide/a.md", "guide/a.md", "[it](../../datasets/README.md#voc)",
         "[it](../datasets.md#voc)"),
        ("README.md", "readme.md", "[your\nown](docs/guide/own-data.md#a)",
         "[your\nown](guide/own-data.md#a)"),
        ("README.md", "readme.md", "![a picture](docs/pictures/a.png)",
         "![a picture](pictures/a.png)"),
        ("datasets/README.md", "datasets.md", "[how](../CONTRIBUTING.md)",
         "[how](contributing.md)"),
        ("README.md", "readme.md", "see [NOTICE](NOTICE), [b](#b)", "see NOTICE, [b](#b)"),
        ("README.md", "readme.md", "[a](https://example.org/x)", "[a](https://example.org/x)"),
    ],
)  # fmt: skip
def test_a_link_leads_to_the_page_of_its_target(source, page, link, on_the_site):
    assert with_links_of_the_site(link, source, page, THERE) == on_the_site


def test_the_pages_are_there():
    assert all((ROOT / source).is_file() for source in PAGES)
