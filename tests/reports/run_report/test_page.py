"""The report in a browser: it opens without a complaint, fits a phone, and is accessible.

Needs Debian's chromium (or Chrome) and the development requirements playwright and
axe-playwright-python; skipped where one is missing.
"""

from __future__ import annotations

import shutil

import pytest

from metaalign_det.reports.run_report import write_report

from .make_runs import register_tiny, write_detector

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
if BROWSER is None:
    pytest.skip("no chromium here", allow_module_level=True)
playwright = pytest.importorskip("playwright.sync_api")
axe = pytest.importorskip("axe_playwright_python.sync_playwright")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as p:
        # Chromium's sandbox needs a user namespace, which containers do not have.
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    from detectron2.data import DatasetCatalog, MetadataCatalog

    folder = tmp_path_factory.mktemp("report")
    before = set(DatasetCatalog.list())
    register_tiny(folder / "data")
    for seed in range(2):
        write_detector(folder / "plain" / f"seed{seed}", seed, 40.0, adapts=False, found=1)
        write_detector(
            folder / "adapted" / f"seed{seed}", seed, 50.0, adapts=True, found=3, teacher=53.0
        )
    path = write_report(
        {"before": folder / "plain", "after": folder / "adapted"}, folder / "report.html"
    )
    for name in set(DatasetCatalog.list()) - before:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    return path


def open_page(browser, report, width, scheme="light"):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    told = []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: told.append(request.url))
    page.goto(report.as_uri())
    return page, [t for t in told if t != report.as_uri() and not t.startswith("data:")]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_it_opens_fits_and_is_accessible(browser, report, width, scheme):
    page, told = open_page(browser, report, width, scheme)
    assert told == []  # no message on the console, nothing loaded
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    violations = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in violations] == []
    page.close()


def test_dark_is_dark_and_its_lines_are_lighter(browser, report):
    def channel(page, selector, style):
        color = page.evaluate(
            "([s, p]) => getComputedStyle(document.querySelector(s))[p]", [selector, style]
        )
        return sum(map(int, color.strip("rgb()").split(",")))

    pages = {s: open_page(browser, report, 1280, s)[0] for s in ("light", "dark")}
    assert channel(pages["light"], "body", "backgroundColor") == 3 * 255
    assert channel(pages["dark"], "body", "backgroundColor") < 3 * 40
    line = (".line.c0", "stroke")
    assert channel(pages["dark"], *line) > channel(pages["light"], *line) + 100
    for page in pages.values():
        page.close()


def test_everything_can_be_reached_by_keyboard(browser, report):
    page, _ = open_page(browser, report, 400)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "summary"
    # A table wider than the screen scrolls by arrow keys once it has the focus.
    wide = page.locator(".scroll").nth(2)
    wide.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelectorAll('.scroll')[2].scrollLeft > 0", timeout=3000)
    page.close()
