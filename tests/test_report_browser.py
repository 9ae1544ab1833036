"""The report in headless Chromium: layout, sorting, printing, and no foreign script or request."""

import itertools
import os
import shutil

import pytest
from helpers import run_program
from playwright.sync_api import Error, sync_playwright
from report_runs import SCRIPT, disturbed_run, write

pytestmark = pytest.mark.browser

# Chromium itself must not make requests.
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
    """Launch the installed Chromium, else the one of playwright."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=found, args=QUIET + as_root)
        except Error as error:
            pytest.fail(f"Chromium is missing: apt-get install chromium, or playwright install chromium ({error})")
        yield browser
        browser.close()


@pytest.fixture(name="report", scope="module")
def _report(tmp_path_factory):
    """Write the report of a run by the program."""
    folder = tmp_path_factory.mktemp("report")
    run = write(folder / "perf" / "results" / "cpu" / "20261124T100000Z.jsonl", disturbed_run())
    ran = run_program("perf", "--show", run, "--html", "report.html", cwd=folder)
    assert "report in report.html" in ran.stderr
    return folder / "report.html"


class Opened:
    """A page with its requests and its messages."""

    def __init__(self, page, path):
        self.page = page
        self.requests, self.messages = [], []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.messages.append(message.text))
        page.on("pageerror", lambda error: self.messages.append(str(error)))
        page.on("dialog", lambda dialog: self.messages.append(dialog.message))
        page.goto(path.as_uri())


@pytest.fixture(name="opened", params=[(400, "light"), (400, "dark"), (1400, "light")], ids=lambda p: f"{p[0]}-{p[1]}")
def _opened(chromium, report, request):
    """Open the report at a width and in a colour scheme."""
    width, scheme = request.param
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield Opened(context.new_page(), report)
    context.close()


def test_layout_and_requests(opened, report):
    """The page does not scroll horizontally, logs nothing and requests only its own file."""
    page = opened.page
    for details in page.query_selector_all("summary"):
        details.click()
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]
    assert opened.messages == []
    assert opened.requests == [report.as_uri()]


def test_model_named_like_a_script(opened):
    """The name is shown in tables and charts, and not run."""
    page = opened.page
    assert page.locator("th", has_text=SCRIPT).first.is_visible()
    assert page.locator("svg text", has_text="<script>").count() > 0
    assert page.evaluate("window.hacked") is None
    assert page.evaluate("document.scripts.length") == 1


def column(table, number):
    """Return the cells of a column from top to bottom."""
    return [cell.inner_text() for cell in table.locator(f"tbody tr > :nth-child({number + 1})").all()]


def test_sorting(opened):
    """A head sorts in both directions by mouse and keyboard and sets aria-sort; cells without a number stay last."""
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
    assert names.index("DPN68") < names.index("DPN92") < names.index("DPN107")  # by number


def test_sorting_of_unstable_values(opened):
    """A value marked as unstable is sorted by its number."""
    table = opened.page.locator("table").first
    table.locator("thead th button").nth(5).click()
    shown = column(table, 5)
    assert any("(unstable)" in cell for cell in shown)
    figures = [float(cell.split()[0]) for cell in shown]
    assert figures == sorted(figures)


def test_no_label_overlaps_in_the_browser(opened):
    """Labels stay apart in the font of the browser, which may differ from the font of the layout."""
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
            # The box of a text has space above and below its letters.
            assert across < 1 or down < 0.3 * min(bottom - top, b - t), f"{one!r} covers {other!r}"


def test_print_opens_details(chromium, report):
    """Closed details are opened before printing."""
    page = chromium.new_page()
    page.goto(report.as_uri())
    assert page.locator("details[open]").count() == 0
    assert page.pdf().startswith(b"%PDF")
    assert page.locator("details[open]").count() == page.locator("details").count() > 0
    page.close()


def test_print_keeps_numbers_on_one_line(chromium, report):
    """No number is wrapped on an A4 page."""
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


def test_keyboard_navigation(chromium, report):
    """The first tab stop skips to the tables, and each wide table is a tab stop so that arrow keys scroll it."""
    page = chromium.new_page()
    page.goto(report.as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the tables"
    assert page.locator("div.wide[tabindex='0'][role='region']").count() == page.locator("div.wide").count()
    page.close()
