"""The report in headless Chromium: narrow and wide, sorted, printed; and nothing of it runs or asks for anything."""

import itertools
import os
import shutil

import pytest
from helpers import run_program
from playwright.sync_api import Error, sync_playwright
from report_runs import SCRIPT, disturbed_run, write

pytestmark = pytest.mark.browser

# Chromium's own errands would be the machine's requests, not the page's.
QUIET = [
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(name="chromium", scope="module")
def _chromium():
    """The machine's Chromium, else the one that playwright has installed."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=QUIET + as_root)
        except Error as error:
            pytest.fail(f"Chromium is wanted: apt-get install chromium, or playwright install chromium ({error})")
        yield browser
        browser.close()


@pytest.fixture(name="report", scope="module")
def _report(tmp_path_factory):
    """The report of a run, by the program."""
    folder = tmp_path_factory.mktemp("report")
    run = write(folder / "perf" / "results" / "cpu" / "20261124T100000Z.jsonl", disturbed_run())
    ran = run_program("perf", "--show", run, "--html", "report.html", cwd=folder)
    assert "report in report.html" in ran.stderr
    return folder / "report.html"


class Opened:
    """A page with what it asked for, said and complained of."""

    def __init__(self, page, path):
        self.page = page
        self.requests, self.said = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        page.goto(path.as_uri())


@pytest.fixture(name="opened", params=[(400, "light"), (400, "dark"), (1400, "light")], ids=lambda p: f"{p[0]}-{p[1]}")
def _opened(chromium, report, request):
    """The report at a width and in a scheme."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield Opened(context.new_page(), report)
    context.close()


def test_it_fits_and_keeps_to_itself(opened, report):
    """No horizontal scroll of the page, nothing on the console, no request but for the file itself."""
    page = opened.page
    for details in page.query_selector_all("summary"):
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert opened.said == []
    assert opened.requests == [report.as_uri()]


def test_a_model_named_as_a_script_is_shown(opened):
    """And not run, neither in the tables nor in the charts."""
    page = opened.page
    assert page.locator("th", has_text=SCRIPT).first.is_visible()
    assert page.locator("svg text", has_text="<script>").count() > 0
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 1


def column(table, number):
    """A column's cells, top to bottom."""
    return [cell.inner_text() for cell in table.locator(f"tbody tr > :nth-child({number + 1})").all()]


def test_a_column_s_head_sorts(opened):
    """By figures, up and down; what has none stays last; by the keyboard as by the mouse; and it is said aloud."""
    table = opened.page.locator("table").first
    head = table.locator("thead th").nth(3)
    assert head.get_attribute("aria-sort") is None
    head.locator("button").click()
    shown = column(table, 3)
    assert shown[-1] == "failed"
    assert [float(cell) for cell in shown[:-1]] == sorted(float(cell) for cell in shown[:-1])
    assert head.get_attribute("aria-sort") == "ascending"
    head.locator("button").focus()
    opened.page.keyboard.press("Enter")
    shown = column(table, 3)
    assert shown[-1] == "failed"
    assert [float(cell) for cell in shown[:-1]] == sorted((float(cell) for cell in shown[:-1]), reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    table.locator("thead th button").first.click()
    assert head.get_attribute("aria-sort") is None
    names = column(table, 0)
    assert names.index("DPN68") < names.index("DPN92") < names.index("DPN107")  # as numbers, not as letters


def test_an_unstable_figure_sorts_as_a_figure(opened):
    """Its mark does not make a word of it."""
    table = opened.page.locator("table").first
    table.locator("thead th button").nth(5).click()
    shown = column(table, 5)
    assert any("(unstable)" in cell for cell in shown)
    figures = [float(cell.split()[0]) for cell in shown]
    assert figures == sorted(figures)


def test_no_label_overlaps_in_the_browser(opened):
    """In the font that it takes, which may be another than the one that the chart was laid out in."""
    boxes = opened.page.evaluate("""
        [...document.querySelectorAll("figure svg")].map((svg) =>
          [...svg.querySelectorAll("text")].map((text) => {
            const box = text.getBoundingClientRect();
            return [text.textContent, box.left, box.right, box.top, box.bottom];
          }))
    """)
    assert len(boxes) >= 10
    for chart in boxes:
        for (one, left, right, top, bottom), (other, l, r, t, b) in itertools.combinations(chart, 2):  # noqa: E741
            across, down = min(right, r) - max(left, l), min(bottom, b) - max(top, t)
            # A text's box has room above and below its letters.
            assert across < 1 or down < 0.3 * min(bottom - top, b - t), f"{one!r} is over {other!r}"


def test_it_prints_whole(chromium, report):
    """What is folded is printed too."""
    page = chromium.new_page()
    page.goto(report.as_uri())
    assert page.locator("details[open]").count() == 0
    assert page.pdf().startswith(b"%PDF")
    assert page.locator("details[open]").count() == page.locator("details").count() > 0
    page.close()


def test_no_figure_is_broken_in_print(chromium, report):
    """On a page of A4 a number stands on one line."""
    page = chromium.new_page(viewport={"width": 718, "height": 1000})
    page.emulate_media(media="print")
    page.goto(report.as_uri())
    broken = page.evaluate("""
        [...document.querySelectorAll("td.figure, th[scope=row]")].filter((cell) => {
          const range = document.createRange();
          range.selectNodeContents(cell);
          return new Set([...range.getClientRects()].map((box) => Math.round(box.top))).size > 1;
        }).map((cell) => cell.textContent)
    """)
    assert broken == []
    page.close()


def test_the_keyboard_gets_everywhere(chromium, report):
    """The first stop skips to the tables; a wide table is a stop of its own, so that arrows scroll it."""
    page = chromium.new_page()
    page.goto(report.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the tables"
    assert page.locator("div.wide[tabindex='0'][role='region']").count() == page.locator("div.wide").count()
    page.close()
