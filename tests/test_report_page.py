"""The report of a run: its content, escaping of names, and the facts about models."""

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import perf_runs
import pytest
from helpers import ROOT, small_onnx
from report_runs import IMAGE, SCRIPT, disturbed_run, write

from generator.errors import printable
from generator.system.files import digest_of_folder
from perf import html as report
from perf import request
from perf.charts.content import run_charts
from perf.charts.types import Bar, Bars
from perf.html import html, inline
from perf.runs import compare, store
from perf.runs.types import COMPUTE

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements and the text of a page whose tags must be nested correctly."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(name="page", scope="module")
def _page():
    """Parse the report of a run with everything that a report can have."""
    stored = disturbed_run()
    earlier = dataclasses.replace(stored, run=dataclasses.replace(stored.run, id="20261123T100000Z"))
    comparisons = [compare.with_run(stored, earlier, COMPUTE)]
    return Page(html(stored, comparisons, earlier, run_charts(stored, ["compute"]), Path("models")))


def test_page_is_self_contained(page):
    """Every reference leads to an id of the page, so nothing is fetched."""
    links = [a[key] for _, a in page.elements for key in ("href", "src", "xlink:href", "action", "data") if a.get(key)]
    assert links
    assert all(link.startswith("#") for link in links)
    assert page.all("link") == page.all("img") == page.all("iframe") == []
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert {link[1:] for link in links} <= ids


def test_ids_are_unique(page):
    """No two charts share an id."""
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_names_and_reasons_are_escaped(page):
    """A model named like a script stays text; the only script is ours, and the policy allows only it."""
    assert len(page.all("script")) == 1
    assert SCRIPT in page.text
    assert IMAGE in page.text
    (policy,) = (meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert re.fullmatch(r"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-[\w+/]{43}='", policy)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_notes(page):
    """The notes name random weights, failed and unstable points, the CPU and missing certificates."""
    notes = page.text.partition("Read first")[2].partition("What was measured")[2].partition("What was measured")[0]
    for words in ("Random weights: DenseNet121", "failed: dpn131 fp32 batch 1: perf_analyzer ended with 1",
                  "unstable: densenet121 fp32 batch 8", "do not predict those of a GPU",
                  "With 10 requests per round, p99 is", "No certificate for DenseNet121"):  # fmt: skip
        assert words in notes


def test_tables(page):
    """The page has the four metrics, the parts, the comparison, the certificates and the rounds, with headings."""
    tables = page.all("table")
    ids = {attributes.get("id") for attributes in page.all("h3")}
    assert len(tables) == len(ids) == 8
    assert {table["aria-labelledby"] for table in tables} == ids
    for caption in ("Server compute", "Server total", "Client p50", "Client p99", "Parts of a request", "over run",
                    "Certificates", "Every round"):  # fmt: skip
        assert caption in page.text
    assert {attributes.get("scope") for attributes in page.all("th")} == {"col", "row"}
    assert "Run 20261123T100000Z is the newest earlier run" in page.text


def test_unstable_and_failed_cells(page):
    """Unstable and failed cells have a class and a word."""
    classes = " ".join(attributes.get("class", "") for attributes in page.all("td"))
    assert "unstable" in classes
    assert "failed" in classes
    assert "(unstable)" in page.text


def test_charts_are_accessible(page):
    """Each chart is an image with a title and a description."""
    charts = [svg for svg in page.all("svg") if svg.get("role") == "img"]
    assert len(charts) == len(page.all("figure")) >= 10
    ids = {a["id"] for _, a in page.elements if "id" in a}
    assert all(set(svg["aria-labelledby"].split()) <= ids for svg in charts)


def test_inline_svg():
    """Groups lose their ids, colours become the page's, and matplotlib's style sheet and size are removed."""
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9">'
        '<metadata/><defs><style>*{}</style><path id="a"/></defs>'
        '<g id="g" clip-path="url(#a)" style="fill: #222222; stroke: #cccccc"/><use xlink:href="#a"/></svg>'
    )
    svg = inline(drawn, Bars("one", "A <title>", "", (Bar("m", (), "1 & 2"),)))
    assert "<style" not in svg
    assert "metadata" not in svg
    assert set(re.findall(r'id="(.+?)"', svg)) == {"a", "one-title", "one-desc"}
    assert 'clip-path="url(#a)"' in svg
    assert 'href="#a"' in svg
    assert "fill: currentColor; stroke: var(--grid)" in svg
    assert "A &lt;title&gt;" in svg
    assert "m: 1 &amp; 2" in svg
    assert "width=" not in svg


def test_previous_run(tmp_path):
    """The previous run is the newest earlier one on the same device with common points."""
    now = disturbed_run()
    runs = {
        "20261121T100000Z": {},
        "20261122T100000Z": {},
        "20261123T100000Z": {"points": ()},
        "20261125T100000Z": {},
    }
    for name, changes in runs.items():
        began = f"{name[:4]}-{name[4:6]}-{name[6:8]}T10:00:00Z"
        other = dataclasses.replace(now.run, id=name, began=began, **changes)
        write(tmp_path / "cpu" / f"{name}.jsonl", store.Stored(now.path, other))
    (tmp_path / "cpu" / "20261124T090000Z.jsonl").write_text("damaged\n")
    previous = request.previous(tmp_path, now)
    assert previous.run.id == "20261122T100000Z"
    elsewhere = dataclasses.replace(
        now, run=dataclasses.replace(now.run, device=dataclasses.replace(now.run.device, label="x"))
    )
    assert request.previous(tmp_path, elsewhere) is None


@pytest.fixture(name="measured")
def _measured(build, tmp_path):
    """Build a model and return a run of it."""
    build(small_onnx(), name="mynet", output=tmp_path / "models")
    digest = digest_of_folder(tmp_path / "models" / "mynet" / "1")
    stored = perf_runs.run(
        {("mynet", "fp32", 1): [9000, 9000, 9000]}, models=("mynet",), repository=str(tmp_path / "models")
    )
    repeats = tuple(
        dataclasses.replace(one, origin=dataclasses.replace(one.origin, model_digest=digest)) for one in stored.repeats
    )
    return dataclasses.replace(stored, repeats=repeats)


def test_certificate_and_provenance(measured):
    """The report shows both if the repository holds the files that were measured."""
    (card,) = report.cards(measured, Path(measured.run.request.repository))
    assert card.why == ""
    assert [row[0] for row in card.certificate.rows][:3] == ["1", "4", "8"]
    facts = dict(card.facts)
    assert "torch" in facts["Made by"]
    assert "nodes exported" in facts["Graph"]
    assert float(card.worst) < 1e-4
    page = Page(html(measured, [], None, [], Path(measured.run.request.repository)))
    assert "A batch passes within 0.0001" in page.text


def test_other_model_of_the_same_name(measured):
    """The certificate of other files is not shown."""
    repeats = [
        dataclasses.replace(one, origin=dataclasses.replace(one.origin, model_digest="0" * 64))
        for one in measured.repeats
    ]
    (card,) = report.cards(dataclasses.replace(measured, repeats=tuple(repeats)), Path(measured.run.request.repository))
    assert (card.certificate, card.why) == (None, report.OTHER_FILES)


HOSTILE = {
    "not JSON": "{",
    "not an object": "[]",
    "empty": "{}",
    "null": "null",
    "hashes are a number": '{"blake3": 3}',
    "not UTF-8": b"\xff\xfe",
    "nested deeply": "[" * 100_000,
    "large": " " * (1 << 22) + "{}",
}


def test_changed_model_file(measured, tmp_path):
    """A changed file has no certificate, whatever its provenance says."""
    with (tmp_path / "models" / "mynet" / "1" / "model.onnx").open("ab") as file:
        file.write(b"x")
    (card,) = report.cards(measured, tmp_path / "models")
    assert (card.certificate, card.why) == (None, report.OTHER_FILES)


def test_model_name_that_leaves_the_repository(measured, tmp_path):
    """Nothing outside the repository is read for a name in the file of a run."""
    (tmp_path / "models" / "inner").mkdir()
    run = dataclasses.replace(
        measured.run,
        models=(dataclasses.replace(measured.run.models[0], name="../mynet"),),
    )
    repeats = [dataclasses.replace(r, point=dataclasses.replace(r.point, model="../mynet")) for r in measured.repeats]
    (card,) = report.cards(
        dataclasses.replace(measured, run=run, repeats=tuple(repeats)), tmp_path / "models" / "inner"
    )
    assert (card.certificate, card.why) == (None, report.NOT_FOUND)


def test_unknown_model_files(measured):
    """No certificate is shown if it is not known which files the server served."""
    repeats = [
        dataclasses.replace(r, origin=dataclasses.replace(r.origin, model_digest=None)) for r in measured.repeats
    ]
    (card,) = report.cards(dataclasses.replace(measured, repeats=tuple(repeats)), Path(measured.run.request.repository))
    assert (card.certificate, card.why) == (None, report.NOT_KNOWN)


@pytest.mark.parametrize("case", HOSTILE)
def test_unusable_provenance(measured, tmp_path, case):
    """The report names the reason for the missing certificate."""
    content = HOSTILE[case]
    path = tmp_path / "models" / "mynet" / "provenance.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (card,) = report.cards(measured, Path(measured.run.request.repository))
    assert card.why == report.UNREADABLE
    path.unlink()
    (card,) = report.cards(measured, Path(measured.run.request.repository))
    assert card.why == report.NOT_FOUND


def test_provenance_with_a_missing_field(measured, tmp_path):
    """The report names the reason for the missing certificate."""
    path = tmp_path / "models" / "mynet" / "provenance.json"
    record = json.loads(path.read_text())
    for key in ("graph", "versions", "certificate"):
        path.write_text(json.dumps({name: value for name, value in record.items() if name != key}))
        (card,) = report.cards(measured, Path(measured.run.request.repository))
        assert card.why == report.UNREADABLE


def luminance(colour):
    """Return the relative luminance of `#rrggbb` (WCAG 2.2)."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", [0, 1], ids=["light and print", "dark"])
def test_contrast(scheme):
    """Text has a contrast of at least 4.5 to 1 with its background (WCAG 2.2, 1.4.3)."""
    css = (ROOT / "templates" / "report.css").read_text()
    colour = {name: pair[scheme] for name, *pair in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\);", css)}
    for text in ("ink", "quiet", "link", "bad", "good"):
        for background in ("paper", "band"):
            dark, light = sorted((luminance(colour[text]), luminance(colour[background])))
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, background)


def test_control_characters_are_escaped():
    """No control character reaches a page or a terminal."""
    assert printable("a\x1b[31mb") == "a\\x1b[31mb"
